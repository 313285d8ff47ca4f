package ipc

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// FirstFile is the descriptor of a child's first file.
const FirstFile = 3

// Child is a process that was started to serve this one. It is in a session of its
// own, and ends when the connection that it got closes.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	exit error         // written before done closes
}

// Start starts the program at path, whose argv is args and whose environment
// is env. Its descriptors are files, from FirstFile on; the caller closes its
// own copies, and does so before it waits for an answer: while it holds the
// child's end of a pair, it doesn't notice that the child is gone.
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

// Kill kills the process, if it hasn't ended.
func (c *Child) Kill() { _ = c.cmd.Process.Kill() }

// Done is closed when the process has ended, asked to or not.
func (c *Child) Done() <-chan struct{} { return c.done }

// Exit says how the process ended; only after Done. Nil is exit status 0.
func (c *Child) Exit() error { return c.exit }

// End waits for the process, whose connection the caller has closed, and kills
// it after patience. It returns once the process is gone.
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
