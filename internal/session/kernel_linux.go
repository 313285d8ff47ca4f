package session

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Look looks at a process, by proc_pid_stat(5). It reports whether there is one.
func Look(pid int) (p Process, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	// The name, which may contain anything, ends at the last parenthesis.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 { // fields[0] is the third, the state
		return p, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	return Process{Group: number(2), Session: number(3), TTY: uint64(uint32(number(4))), Foreground: number(5), Start: fields[19]}, true
}
