package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// pty is a terminal at which the test types.
type pty struct {
	*testing.T
	path   string
	master *os.File
	slave  *os.File // kept open, so that the master's reads don't fail between prompts

	mu   sync.Mutex
	grew *sync.Cond
	text string // what was shown
	at   int    // how much of it has been expected
	done bool
}

func newPTY(t *testing.T) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{T: t, master: master}
	p.grew = sync.NewCond(&p.mu)
	if e := raw.Control(func(fd uintptr) {
		var n int
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
		p.path = fmt.Sprintf("/dev/pts/%d", n)
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if p.slave, err = os.OpenFile(p.path, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); p.watch() }()
	t.Cleanup(func() { p.slave.Close(); p.master.Close(); <-ended })
	return p
}

func (p *pty) watch() {
	b := make([]byte, 1024)
	for {
		n, err := p.master.Read(b)
		p.mu.Lock()
		p.text += string(b[:n])
		p.done = err != nil
		p.grew.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// expect waits until text is shown, after what was expected before.
func (p *pty) expect(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if i := strings.Index(p.text[p.at:], text); i >= 0 {
			p.at += i + len(text)
			return
		}
		if p.done {
			p.Errorf("the terminal never showed %q, but %q", text, p.text)
			return
		}
		p.grew.Wait()
	}
}

func (p *pty) write(text string) {
	if _, err := p.master.WriteString(text); err != nil {
		p.Error(err)
	}
}

func (p *pty) shown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text
}

func (p *pty) echoes() bool {
	p.Helper()
	raw, err := p.slave.SyscallConn()
	if err != nil {
		p.Fatal(err)
	}
	var mode *unix.Termios
	if e := raw.Control(func(fd uintptr) { mode, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); e != nil || err != nil {
		p.Fatal(e, err)
	}
	return mode.Lflag&unix.ECHO != 0
}

// answer waits for prompts and types answers, concurrently with a run of vigilctl.
func (p *pty) answer(script ...string) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i+1 < len(script); i += 2 {
			p.expect(script[i])
			p.write(script[i+1] + "\n")
		}
	})
	return wg.Wait
}

func (b *bench) withPTY() (*bench, *pty) {
	b.Helper()
	p := newPTY(b.T)
	b.tty = p.path
	return b, p
}
