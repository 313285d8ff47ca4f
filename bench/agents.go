package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vigil/internal/testing/sshtest"
)

// kind is a sort of agent: how one is started with its files in a directory.
type kind struct {
	name    string
	command func(dir string) (cmd *exec.Cmd, socket string)
}

func openSSH(name string) kind {
	return kind{name, func(dir string) (*exec.Cmd, string) {
		socket := filepath.Join(dir, "s")
		return exec.Command("ssh-agent", "-D", "-a", socket), socket
	}}
}

// vigild is a daemon without a vault, for keys that clients add: its keeper
// signs with them as with a vault's.
func vigild(binary string) kind {
	return kind{"vigild", func(dir string) (*exec.Cmd, string) {
		cmd := exec.Command(binary)
		cmd.Env = append(os.Environ(), sshtest.VigilEnvironment(dir)...)
		return cmd, filepath.Join(dir, "run", "vigil", "agent.sock")
	}}
}

// startLimit bounds the wait for an agent to serve.
const startLimit = 20 * time.Second

// agent is one that runs.
type agent struct {
	socket string
	cmd    *exec.Cmd
	dir    string
	output bytes.Buffer
	ended  chan struct{}
}

// start starts an agent and returns once it has answered a listing, with the
// time that took.
func start(parent string, k kind) (*agent, time.Duration, error) {
	dir, err := os.MkdirTemp(parent, "a")
	if err != nil {
		return nil, 0, err
	}
	cmd, socket := k.command(dir)
	a := &agent{socket: socket, cmd: cmd, dir: dir, ended: make(chan struct{})}
	cmd.Stderr = &a.output
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	go func() {
		_ = cmd.Wait() // what it said is in output
		close(a.ended)
	}()
	for {
		if c, err := dial(socket); err == nil {
			err := c.list(0)
			took := time.Since(began)
			c.Close()
			if err != nil {
				a.stop()
				return nil, 0, err
			}
			return a, took, nil
		}
		select {
		case <-a.ended:
			return nil, 0, fmt.Errorf("%s ended at once: %s", k.name, a.output.String())
		case <-time.After(50 * time.Microsecond):
		}
		if time.Since(began) > startLimit {
			a.stop()
			return nil, 0, fmt.Errorf("%s doesn't serve %s: %s", k.name, socket, a.output.String())
		}
	}
}

// stop ends the agent and removes its files.
func (a *agent) stop() {
	_ = a.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-a.ended:
	case <-time.After(startLimit):
		_ = a.cmd.Process.Kill()
		<-a.ended
	}
	os.RemoveAll(a.dir)
}

// resident returns how much memory the agent and its children have resident, in
// bytes. /proc/PID/status can be read of processes that can't be dumped, too.
func (a *agent) resident() (float64, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	parent, rss := map[string]string{}, map[string]float64{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		pid := filepath.Base(filepath.Dir(path))
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			switch fields := strings.Fields(value); {
			case name == "PPid" && len(fields) == 1:
				parent[pid] = fields[0]
			case name == "VmRSS" && len(fields) == 2:
				kib, err := strconv.ParseFloat(fields[0], 64)
				if err != nil {
					return 0, fmt.Errorf("%s: %w", path, err)
				}
				rss[pid] = kib * 1024
			}
		}
	}
	root := strconv.Itoa(a.cmd.Process.Pid)
	if rss[root] == 0 {
		return 0, errors.New("this system has no /proc to read memory from")
	}
	total := 0.0
	for pid, size := range rss {
		for p := pid; p != "" && p != "0"; p = parent[p] {
			if p == root {
				total += size
				break
			}
		}
	}
	return total, nil
}

func dial(socket string) (*client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return &client{Conn: conn}, nil
}
