package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/internal/control"
	"vigil/internal/prompt"
)

// maxLine is the longest line that is read from the terminal, in bytes. The
// terminal's own limit is 4096 on Linux and 1024 on macOS.
const maxLine = 4096

// terminal is the controlling terminal. Standard streams may be redirected.
type terminal struct {
	f        *os.File
	fd       int
	coloured bool
}

// openTerminal opens the controlling terminal. It fails if there is none.
func (a *app) openTerminal() (*terminal, error) {
	a.clearLine()
	// Not os.OpenFile, which would make it non-blocking for all its users.
	fd, err := unix.Open(a.tty, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a.tty, err)
	}
	if !isTerminal(fd) {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s is not a terminal", a.tty)
	}
	f := os.NewFile(uintptr(fd), a.tty)
	return &terminal{f, fd, a.wantsColours(f)}, nil
}

func (t *terminal) close() { _ = t.f.Close() }

func (t *terminal) say(format string, args ...any) {
	tell(&page{width: columns(t.f), coloured: t.coloured}, t.f, format+"\n", args...)
}

// isTerminal reports whether fd is a terminal.
func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, getTermios)
	return err == nil
}

// readSecret asks for a passphrase with the echo off. The caller wipes it.
func (t *terminal) readSecret(ctx context.Context, prompt string) (*secret, error) {
	restore, err := t.hide(prompt)
	if err != nil {
		return nil, err
	}
	defer restore()
	s := &secret{b: make([]byte, maxLine)}
	n, err := t.read(ctx, prompt, s.b)
	if err == nil && n > maxPassphrase {
		err = control.Errorf(control.CodeUsage, "", "a passphrase has at most %d bytes", maxPassphrase)
	}
	if err != nil {
		s.wipe()
		return nil, err
	}
	t.say("")
	s.b = s.b[:n]
	return s, nil
}

// newSecret asks for a new passphrase until it is typed twice. In between it shows what
// measure says of it, if anything, and lets the user choose another. The caller wipes it.
func (t *terminal) newSecret(ctx context.Context, prompt string, measure func(*secret) string) (*secret, error) {
	for try := 0; try < passphraseTries; try++ {
		first, err := t.readSecret(ctx, prompt)
		if err != nil {
			return nil, err
		}
		if len(first.b) == 0 {
			t.say("An empty passphrase protects nothing.")
			continue
		}
		again, measured := "The same again: ", measure(first)
		if measured != "" {
			grade, rest, _ := strings.Cut(measured, ":")
			t.say("%s:%s", paintGrade(grade), rest)
			again = "The same again (empty: choose another): "
		}
		second, err := t.readSecret(ctx, again)
		if err != nil {
			first.wipe()
			return nil, err
		}
		same := bytes.Equal(first.b, second.b)
		second.wipe()
		if same {
			return first, nil
		}
		first.wipe()
		if measured != "" && len(second.b) == 0 {
			try--
			continue
		}
		t.say("The passphrases differ.")
	}
	return nil, control.Errorf(control.CodeFailed, "Start again. Nothing was changed.", "no passphrase was set")
}

// readLine asks for a line of text.
func (t *terminal) readLine(ctx context.Context, prompt string) (string, error) {
	b := make([]byte, maxLine)
	n, err := t.read(ctx, prompt, b)
	return strings.TrimSpace(string(b[:n])), err
}

// confirm asks a yes-or-no question. Anything but yes is no.
func (t *terminal) confirm(ctx context.Context, question string) (bool, error) {
	line, err := t.readLine(ctx, question+" [y/N] ")
	line = strings.ToLower(line)
	return line == "y" || line == "yes", err
}

// hide turns the echo off until the returned function is called, and again after
// the program was suspended and resumed.
func (t *terminal) hide(prompt string) (restore func(), err error) {
	before, err := unix.IoctlGetTermios(t.fd, getTermios)
	if err != nil {
		return nil, fmt.Errorf("read the mode of %s: %w", t.f.Name(), err)
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(t.fd, setTermios, &hidden); err != nil {
		return nil, fmt.Errorf("turn off the echo of %s: %w", t.f.Name(), err)
	}
	resumed, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(resumed, syscall.SIGCONT)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-resumed:
				_ = unix.IoctlSetTermios(t.fd, setTermios, &hidden)
				printf(t.f, "%s", prompt)
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(resumed)
		close(done)
		wg.Wait()
		_ = unix.IoctlSetTermios(t.fd, setTermios, before)
	}, nil
}

// read shows the prompt and reads one line into b, without its line end. The end
// of ctx and the terminal's end of file interrupt it.
func (t *terminal) read(ctx context.Context, prompt string, b []byte) (int, error) {
	printf(t.f, "%s", prompt)
	for n := 0; n < len(b); {
		if err := t.wait(ctx); err != nil {
			t.say("")
			return 0, err
		}
		m, err := unix.Read(t.fd, b[n:])
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return 0, fmt.Errorf("read %s: %w", t.f.Name(), err)
		case m == 0:
			t.say("")
			return 0, control.Errorf(control.CodeInterrupted, "", "no answer was given")
		}
		if i := bytes.IndexByte(b[n:n+m], '\n'); i >= 0 {
			return n + i, nil
		}
		n += m
	}
	return 0, control.Errorf(control.CodeUsage, "", "the line is longer than %d bytes", len(b))
}

// wait returns when the terminal can be read, or with ctx's error.
func (t *terminal) wait(ctx context.Context) error {
	err := prompt.Wait(ctx, t.fd, false)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
