package sshtest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Processes lists all processes, where there is a /proc. It opens that folder and
// none below it: a glob reads the whole folder of every process, which costs a
// hundred times as much, and those processes too when they end.
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

// Children lists the living children of a process, where there is a /proc.
func Children(of int) (pids []int) {
	for _, pid := range Processes() {
		if state, parent := stat(pid); parent == of && state != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Alive reports whether a process is there, and where there is a /proc also that it
// is no zombie.
func Alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	state, _ := stat(pid)
	return state != "Z"
}

// stat returns a process's state and parent; "" when there is none.
func stat(pid int) (state string, parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	// pid (comm) state ppid …; comm may hold anything, so count from its end.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

// CommandName is the name that a process has given itself, or was started by; "" when
// there is none.
func CommandName(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return string(bytes.TrimSpace(name))
}
