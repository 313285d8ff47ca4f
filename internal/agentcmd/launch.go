package agentcmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vigil/internal/paths"
)

// launch starts an agent in the background. Once it is ready, launch prints the
// export lines, or executes the command whose end ends the agent.
func (p Program) launch(c *Command) int {
	command, err := lookUpCommand(c.Argv)
	if err != nil {
		p.report(c.Argv[0], err)
		return statusUsage
	}
	at, err := listen(c, p.Environ)
	if err != nil {
		return p.failToListen(c, err)
	}
	pid, err := p.startInBackground(c, at)
	if err != nil {
		at.release()
		p.report("start the agent", err)
		return statusUsage
	}
	if c.Argv == nil {
		_, _ = io.WriteString(p.Stdout, exports(at.socket, pid, c.CShell, false))
		return statusDone
	}
	environ := append(without(p.Environ, socketVariable, pidVariable),
		socketVariable+"="+at.socket, pidVariable+"="+strconv.Itoa(pid))
	// The command gets this process's id, which the agent watches.
	p.report(c.Argv[0], become(command, c.Argv, environ))
	return statusUsage
}

// failToListen reports why there is no socket, and returns the exit status.
func (p Program) failToListen(c *Command, err error) int {
	if tooLong := (*paths.SocketPathError)(nil); errors.As(err, &tooLong) {
		err = syscall.ENAMETOOLONG // its advice is about vigild's own folder
	}
	switch {
	case c.Socket != "":
		p.report("cannot bind to path "+c.Socket, err)
		return statusUsage
	case c.Temporary:
		p.report("private socket folder", err)
		return statusUsage
	}
	p.report("", fmt.Errorf("prepare the agent's socket: %w", err))
	return statusFailure
}

// backgroundArgs are the arguments of the background process, after Role.
type backgroundArgs struct {
	socket   string // absolute
	folder   string // to remove at the end, or ""
	lifetime time.Duration
	parent   int // the process whose end ends the agent, or 0
	// providers are the patterns of -P, or "".
	providers string
}

func (b backgroundArgs) args() []string {
	return []string{b.socket, b.folder, strconv.FormatInt(int64(b.lifetime/time.Second), 10), strconv.Itoa(b.parent), b.providers}
}

func parseBackgroundArgs(args []string) (b backgroundArgs, err error) {
	if len(args) != len(b.args()) {
		return b, errors.New("read arguments: wrong number")
	}
	seconds, err := strconv.ParseInt(args[2], 10, 32)
	if err != nil {
		return b, fmt.Errorf("read arguments: lifetime: %w", err)
	}
	parent, err := strconv.Atoi(args[3])
	if err != nil {
		return b, fmt.Errorf("read arguments: parent: %w", err)
	}
	return backgroundArgs{args[0], args[1], time.Duration(seconds) * time.Second, parent, args[4]}, nil
}

// Descriptors of the background process, after the standard ones.
const (
	socketFD = 3
	readyFD  = 4
)

// startInBackground starts the agent in a new session, with nothing open but its
// socket and the ready pipe, and returns its process id once it is ready. If the
// agent writes a message to the pipe instead, that is the error.
func (p Program) startInBackground(c *Command, at *place) (pid int, err error) {
	socket, err := at.listener.File()
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	pipe, ready, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer pipe.Close()
	defer ready.Close()
	b := backgroundArgs{socket: at.listener.Path(), folder: at.folder, lifetime: c.Lifetime, providers: c.Providers}
	if c.Argv != nil {
		b.parent = os.Getpid()
	}
	cmd := exec.Command(p.Exe, append([]string{Role}, b.args()...)...)
	cmd.Args[0] = Name
	cmd.Env = p.Environ
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{socket, ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_ = ready.Close()
	said, err := bufio.NewReader(pipe).ReadString('\n')
	switch {
	case said == "\n":
		return cmd.Process.Pid, nil
	case errors.Is(err, io.EOF):
		return 0, fmt.Errorf("it ended: %w", cmd.Wait())
	case err != nil:
		return 0, err
	}
	return 0, errors.Join(errors.New(strings.TrimSpace(said)), ignoreStatus(cmd.Wait()))
}

// ignoreStatus drops an exit status: the process has already reported its error.
func ignoreStatus(err error) error {
	var status *exec.ExitError
	if errors.As(err, &status) {
		return nil
	}
	return err
}

// lookUpCommand finds a command's file, as execvp(3) does.
func lookUpCommand(argv []string) (string, error) {
	if argv == nil {
		return "", nil
	}
	path, err := exec.LookPath(argv[0])
	switch {
	case errors.Is(err, exec.ErrDot): // PATH includes the working folder: the user's choice
		return path, nil
	case errors.Is(err, exec.ErrNotFound):
		return "", syscall.ENOENT
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", syscall.EACCES
	}
	return path, err
}

// become executes a command in this process. Like execvp(3), it runs a file that the
// kernel doesn't recognise as a program with sh. It returns only with an error.
func become(path string, argv, environ []string) error {
	err := syscall.Exec(path, argv, environ)
	if errors.Is(err, syscall.ENOEXEC) {
		err = syscall.Exec("/bin/sh", append([]string{"sh", path}, argv[1:]...), environ)
	}
	return err
}
