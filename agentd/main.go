// Command vigild is the SSH agent: the front that listens, or, when the front
// starts it in that role, a keeper that holds keys. Called as ssh-agent it takes
// that program's command line.
package main

import (
	"fmt"
	"os"

	"vigil/internal/agentcmd"
	"vigil/internal/keeper"
	"vigil/internal/keeper/server"
)

func main() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == keeper.Role:
		os.Exit(server.Main(os.Args[2:]))
	case agentcmd.Called(os.Args):
		os.Exit(sshAgent())
	}
	os.Exit(front(os.Args, os.Environ(), os.Stderr))
}

// sshAgent runs as ssh-agent, and returns the exit status.
func sshAgent() int {
	self, _, err := binaries()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return agentcmd.Program{Args: os.Args, Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Exe: self}.Run()
}
