// Package agentcmd implements vigild called as `ssh-agent`: the command line of
// OpenSSH's ssh-agent(1), as of 10.6, for an agent that keeps keys in memory only.
// It reads no configuration, opens no vault, keeps no state and has no control
// socket; any number can run at once.
//
//	command.go    the command line → a Command (pure)
//	lifetime.go   time spans as sshd_config(5) writes them (pure)
//	shell.go      what is printed for a shell to evaluate (pure)
//	socket.go     where the socket is; cleaning up after agents that were killed
//	program.go    carries out a Command
//	launch.go     the agent in the background, and the command it lives for
//	serve.go      the agent itself, its signals, and its end
//
// ssh-agent forks into the background; a Go program can't. So the process binds
// the socket and starts the program again, with the socket and a pipe. It prints
// the export lines, or executes the command, once the new process reports on the
// pipe that it is ready.
package agentcmd

import (
	"io"
	"path/filepath"
)

const (
	// Name is the name that makes vigild this program: a symbolic link to it.
	Name = "ssh-agent"
	// Role is the first argument of the background process. It is not an option
	// for users.
	Role = "ssh-agent-role"
)

// Exit statuses of ssh-agent.
const (
	statusDone    = 0
	statusUsage   = 1   // also if something other than the agent itself failed
	statusEnded   = 2   // ended by a signal, or with its parent
	statusFailure = 255 // OpenSSH's fatal()
)

// Program is one run of the ssh-agent command.
type Program struct {
	Args    []string // os.Args
	Environ []string // os.Environ()
	Stdout  io.Writer
	Stderr  io.Writer
	Exe     string // starts this program again, as a keeper and in the background
}

// Called reports whether a process with these arguments was called as ssh-agent.
func Called(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == Name
}
