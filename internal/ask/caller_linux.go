package ask

import (
	"fmt"
	"os"
	"path"
	"strings"

	"vigil/internal/session"
)

// CallerOf looks at a process, by proc_pid_stat(5) and cgroups(7).
func CallerOf(pid int) Caller {
	p, ok := session.Look(pid)
	if !ok {
		return Caller{Origin: fmt.Sprintf("process %d", pid)}
	}
	id := p.ID() // a leader that has ended has no start time
	c := Caller{tty: p.TTY, front: p.Group == p.Foreground, group: p.Group, session: id}
	c.Origin = fmt.Sprintf("session %d of %s", p.Session, id.Start)
	if unit := unitOf(pid); strings.HasSuffix(unit, ".service") {
		c.Origin = unit // each run of what a timer starts is another session
	}
	return c
}

// unitOf returns the last part of a process's place in the hierarchy of control groups.
func unitOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if place, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Base(place)
		}
	}
	return ""
}
