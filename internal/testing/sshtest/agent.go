package sshtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startDeadline bounds the time until an agent answers on its socket. It is generous,
// for busy machines.
const startDeadline = time.Minute

// Agent is a running agent: OpenSSH's, or vigild.
type Agent struct {
	Socket  string
	Process *os.Process
	LogFile string
	done    chan struct{} // closed when the process has ended
}

// StartOpenSSHAgent starts an ssh-agent with its files in dir. command is the
// program, usually "ssh-agent", with anything before it, such as a loader.
func StartOpenSSHAgent(dir string, command ...string) (*Agent, error) {
	socket := filepath.Join(dir, "s")
	return startAgent(dir, socket, nil, append(command, "-D", "-a", socket))
}

// StartVigild starts a vigild without vaults with home dir: an agent for keys added
// by ssh-add. settings are added to its environment.
func StartVigild(dir, binary string, settings ...string) (*Agent, error) {
	env := append(VigilEnvironment(dir), settings...)
	run := filepath.Join(dir, "run", "vigil")
	a, err := startAgent(dir, filepath.Join(run, "agent.sock"), env, []string{binary})
	if err != nil {
		return nil, err
	}
	if err := a.waitUntilServing(filepath.Join(run, "control.sock")); err != nil {
		_ = a.Close()
		return nil, err
	}
	return a, nil
}

// VigilEnvironment makes a home's directories in dir and returns the environment
// settings that confine Vigil's binaries to them.
func VigilEnvironment(dir string) []string {
	env := []string{"HOME=" + dir}
	for name, sub := range map[string]string{
		"XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data", "XDG_STATE_HOME": "state",
		"XDG_CACHE_HOME": "cache", "XDG_RUNTIME_DIR": "run",
	} {
		path := filepath.Join(dir, sub)
		_ = os.MkdirAll(path, 0o700) // whoever needs the directory notices an error
		env = append(env, name+"="+path)
	}
	return env
}

func startAgent(dir, socket string, env, command []string) (*Agent, error) {
	a := &Agent{Socket: socket, LogFile: filepath.Join(dir, "agent.log"), done: make(chan struct{})}
	log, err := os.Create(a.LogFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if env != nil {
		cmd.Env = append(os.Environ(), env...)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	a.Process = cmd.Process
	go func() {
		_ = cmd.Wait() // its log says how it went
		close(a.done)
	}()
	if err := a.waitUntilServing(a.Socket); err != nil {
		_ = a.Close()
		text, _ := os.ReadFile(a.LogFile)
		return nil, fmt.Errorf("%s: %w\n%s", command[0], err, text)
	}
	return a, nil
}

// waitUntilServing waits until a socket accepts connections.
func (a *Agent) waitUntilServing(socket string) error {
	deadline := time.After(startDeadline)
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn.Close()
		}
		select {
		case <-a.done:
			return fmt.Errorf("ended before it served %s", socket)
		case <-deadline:
			return fmt.Errorf("did not serve %s within %v", socket, startDeadline)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Done is closed when the agent's process has ended.
func (a *Agent) Done() <-chan struct{} { return a.done }

// Close terminates the agent, and kills it if it doesn't end.
func (a *Agent) Close() error {
	_ = a.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-a.done:
		return nil
	case <-time.After(startDeadline):
		_ = a.Process.Kill()
		<-a.done
		return fmt.Errorf("agent %d did not end when asked to", a.Process.Pid)
	}
}
