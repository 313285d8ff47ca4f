package agentcmd

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"vigil/internal/buildid"
	"vigil/internal/unixsock"
)

// Run executes the command line and returns the exit status. If there is a trailing
// command, the process becomes that command, and Run returns only if that fails.
func (p Program) Run() int {
	if len(p.Args) > 1 && p.Args[1] == Role {
		return p.serveInBackground(p.Args[2:])
	}
	c, err := Parse(p.Args[1:], lookup(p.Environ, "SHELL"))
	var refused *Error
	if errors.As(err, &refused) {
		if refused.Text != "" {
			fmt.Fprintln(p.Stderr, refused.Text)
		}
		if refused.Usage {
			_, _ = io.WriteString(p.Stderr, synopsis)
		}
		return refused.Status()
	}
	switch c.Action {
	case Version:
		fmt.Fprintf(p.Stderr, "Vigil_%s, with the command line of OpenSSH 10.6's ssh-agent\n", buildid.Version())
		return statusDone
	case Kill:
		return p.kill(c)
	case Clean:
		return p.clean(c)
	}
	for _, option := range c.NoEffect {
		fmt.Fprintf(p.Stderr, "%s has no effect: this agent takes no keys on tokens\n", option)
	}
	unixsock.CloseOnExec()
	if c.Ground == Background {
		return p.launch(c)
	}
	return p.serveInForeground(c)
}

// kill implements -k.
func (p Program) kill(c *Command) int {
	text, ok := find(p.Environ, pidVariable)
	if !ok {
		fmt.Fprintf(p.Stderr, "%s not set, cannot kill agent\n", pidVariable)
		return statusUsage
	}
	pid, problem := parsePID(text)
	if problem != "" {
		fmt.Fprintf(p.Stderr, "%s=%q, which is not a good PID: %s\n", pidVariable, text, problem)
		return statusUsage
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		p.report("kill", err)
		return statusUsage
	}
	_, _ = io.WriteString(p.Stdout, unexports(pid, c.CShell))
	return statusDone
}

// minPID keeps -k from signalling the first process of the system.
const minPID = 2

// parsePID returns a process id, or what is wrong with it in the words of
// strtonum(3).
func parsePID(text string) (pid int, problem string) {
	n, err := strconv.ParseInt(strings.TrimLeft(text, " \t\n\v\f\r"), 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		return 0, "too large"
	case errors.Is(err, strconv.ErrSyntax):
		return 0, "invalid"
	case n < minPID:
		return 0, "too small"
	}
	return int(n), ""
}

// clean implements -u.
func (p Program) clean(c *Command) int {
	kind, folder, err := where(c, p.Environ)
	if err == nil && kind == "shared" {
		err = errors.New("-A shared: nothing is left behind there to clean up")
	}
	if err == nil {
		err = removeStale(folder, c.AnyHost)
	}
	if err != nil {
		p.report("", err)
		return statusFailure
	}
	if c.Folder == "" {
		folder = filepath.Join("~", defaultFolder)
	}
	fmt.Fprintf(p.Stdout, "Deleted stale agent sockets in %s\n", folder)
	return statusDone
}

// report prints on standard error what failed, and system errors as perror(3) does.
func (p Program) report(what string, err error) {
	var number syscall.Errno
	if errors.As(err, &number) && what != "" {
		text := []rune(number.Error())
		text[0] = unicode.ToUpper(text[0])
		fmt.Fprintf(p.Stderr, "%s: %s\n", what, string(text))
		return
	}
	if what != "" {
		what += ": "
	}
	fmt.Fprintf(p.Stderr, "%s%v\n", what, err)
}

// isInUse reports whether err says that a socket's path is in use.
func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
