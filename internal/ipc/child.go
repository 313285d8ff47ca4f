package ipc

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// FirstFile is the descriptor of a child's first file.
const FirstFile = 3

// Child is a process that was started to serve this one. It has its own session, and
// ends when its connection is closed.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	exit error         // set before done is closed
}

// Start starts the program at path with argv args and environment env. The files are
// its descriptors, from FirstFile on. The caller closes its copies before it waits
// for an answer: while it holds the child's end of a pair, it can't notice that the
// child has ended.
func Start(path string, args, env []string, files ...*os.File) (*Child, error) {
	cmd := &exec.Cmd{
		Path: path, Args: args, Env: env, Dir: "/", ExtraFiles: files,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &Child{cmd: cmd, done: make(chan struct{})}
	go func() {
		c.exit = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// PID returns the process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Kill kills the process if it hasn't ended.
func (c *Child) Kill() { _ = c.cmd.Process.Kill() }

// Done is closed when the process has ended for any reason.
func (c *Child) Done() <-chan struct{} { return c.done }

// Exit says how the process ended, after Done; nil: exit status 0.
func (c *Child) Exit() error { return c.exit }

// End waits for the process, whose connection the caller has closed, and kills it
// after patience. It returns when the process has ended.
func (c *Child) End(patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.Kill()
		<-c.done
	}
}
