package ask

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
)

// CallerOf looks at a process, by proc_pid_stat(5) and cgroups(7).
func CallerOf(pid int) Caller {
	s, ok := statOf(pid)
	if !ok {
		return Caller{Origin: fmt.Sprintf("process %d", pid)}
	}
	c := Caller{tty: s.tty, front: s.group == s.foreground}
	if unit := unitOf(pid); strings.HasSuffix(unit, ".service") {
		c.Origin = unit // each run of what a timer starts is another session
		return c
	}
	leader, _ := statOf(s.session) // one that has ended has no start time
	c.Origin = fmt.Sprintf("session %d of %s", s.session, leader.start)
	return c
}

// stat is what is needed of a process's status.
type stat struct {
	group, session, foreground int
	tty                        uint64
	start                      string
}

func statOf(pid int) (s stat, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, false
	}
	// The name, which may contain anything, ends at the last parenthesis.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 { // fields[0] is the third, the state
		return s, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	return stat{group: number(2), session: number(3), tty: uint64(uint32(number(4))), foreground: number(5), start: fields[19]}, true
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
