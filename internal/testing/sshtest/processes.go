package sshtest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Processes lists all processes, if there is a /proc. It reads only that folder: a glob
// reads every process's folder, which costs a hundred times as much, and slows down the
// ends of those processes.
func Processes() (pids []int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Children lists a process's living children, if there is a /proc.
func Children(of int) (pids []int) {
	for _, pid := range Processes() {
		if state, parent := stat(pid); parent == of && state != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Alive reports whether a process exists and, if there is a /proc, isn't a zombie.
func Alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	state, _ := stat(pid)
	return state != "Z"
}

// stat returns a process's state and parent, or "" if there is none.
func stat(pid int) (state string, parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	// pid (comm) state ppid …; comm can contain anything, so search from the end.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

// CommandName returns a process's name, which it may have set itself, or "" if there
// is none.
func CommandName(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return string(bytes.TrimSpace(name))
}
