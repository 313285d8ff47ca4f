package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
)

// Terminal is a terminal on which this process asks by itself, without a program.
type Terminal struct {
	fd   int
	mode *unix.Termios // when it was opened
}

// OpenTerminal opens the terminal at path, which must be this user's and have a device
// number. It doesn't become this process's controlling terminal. The caller closes it.
func OpenTerminal(path string, device uint64) (*Terminal, error) {
	t, err := openTerminal(path)
	if err != nil {
		return nil, err
	}
	var info unix.Stat_t
	err = unix.Fstat(t.fd, &info)
	if err == nil && (info.Mode&unix.S_IFMT != unix.S_IFCHR || uint64(info.Rdev) != device || int(info.Uid) != os.Geteuid()) {
		err = errors.New("it isn't the expected terminal of this user")
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("use terminal %s: %w", path, err)
	}
	return t, nil
}

// ControllingTerminal opens the terminal that controls this process.
func ControllingTerminal() (*Terminal, error) { return openTerminal("/dev/tty") }

func openTerminal(path string) (*Terminal, error) {
	// Non-blocking for this open file alone: a terminal that takes no output delays nobody.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal %s: %w", path, err)
	}
	t := &Terminal{fd: fd}
	if t.mode, err = unix.IoctlGetTermios(fd, getTermios); err != nil {
		t.Close()
		return nil, fmt.Errorf("read the mode of terminal %s: %w", path, err)
	}
	return t, nil
}

// Close closes the terminal, as it is.
func (t *Terminal) Close() { _ = unix.Close(t.fd) }

// Foreground reports whether this process has the terminal, which controls it, for itself.
func (t *Terminal) Foreground() bool {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Free reports whether the terminal was in line mode with an echo when it was opened, as
// shells leave it to what they run. A program that reads keys itself, such as a login by
// ssh, an editor or another prompt, would take some of what is typed for a prompt.
func (t *Terminal) Free() bool {
	return t.mode.Lflag&unix.ICANON != 0 && t.mode.Lflag&unix.ECHO != 0
}

// prompting returns the mode while someone is asked: no echo, and every key comes as it is
// typed. Ctrl-C and Ctrl-Z signal nothing: the shell would come to the foreground, and
// read the rest.
func (t *Terminal) prompting() *unix.Termios {
	mode := *t.mode
	mode.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG | unix.IEXTEN
	mode.Iflag |= unix.ICRNL
	mode.Oflag |= unix.OPOST | unix.ONLCR
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	return &mode
}

// hide begins a prompt: what was typed before doesn't answer it.
func (t *Terminal) hide() error {
	_ = flushInput(t.fd)
	if err := unix.IoctlSetTermios(t.fd, setTermiosNow, t.prompting()); err != nil {
		return fmt.Errorf("turn off the terminal's echo: %w", err)
	}
	return nil
}

// Restore puts the terminal back into the mode that it had when it was opened, if a prompt
// has changed it: not if another program has meanwhile. Half a passphrase that was typed
// for a prompt that is gone is discarded.
func (t *Terminal) Restore() {
	now, err := unix.IoctlGetTermios(t.fd, getTermios)
	if err != nil || *now != *t.prompting() {
		return
	}
	_ = flushInput(t.fd)
	_ = unix.IoctlSetTermios(t.fd, setTermiosNow, t.mode)
}

// Passphrase is [Prompter.Passphrase] on the terminal. An empty answer declines, as does
// Ctrl-C. The lines are read into m.Line, and from there into m.Answer.
func (t *Terminal) Passphrase(ctx context.Context, title, text string, m Memory, use func(passphrase []byte) (wrong string, err error)) error {
	defer guard.Wipe(m.Answer)
	defer guard.Wipe(m.Line)
	defer t.Restore()
	shown := "\n" + heading(title, text)
	for {
		if err := t.hide(); err != nil {
			return err
		}
		n, err := t.ask(ctx, shown+"Passphrase: ", m.Answer[:MaxPassphrase-2], m.Line)
		switch {
		case err != nil:
			return err
		case n == 0:
			return ErrDeclined
		}
		wrong, err := use(m.Answer[:n])
		guard.Wipe(m.Answer)
		if wrong == "" || err != nil {
			return err
		}
		shown = clean(wrong) + "\n"
	}
}

// Confirm is [Prompter.Confirm] on the terminal: y allows it once, m for longer. Anything
// else is no.
func (t *Terminal) Confirm(ctx context.Context, title, text string, longer time.Duration) (forLonger bool, err error) {
	defer t.Restore()
	if err := t.hide(); err != nil {
		return false, err
	}
	choices := "[y/N] "
	if longer > 0 {
		choices = fmt.Sprintf("[y: once, m: for %d minutes, N] ", longer/time.Minute)
	}
	var answer, typed [16]byte
	n, err := t.ask(ctx, "\n"+heading(title, text)+choices, answer[:], typed[:])
	text = strings.ToLower(string(answer[:n]))
	switch {
	case err != nil && !errors.Is(err, ErrTooLong):
		return false, err
	case err == nil && (text == "y" || text == "yes"):
		return false, nil
	case err == nil && text == "m" && longer > 0:
		return true, nil
	}
	return false, ErrDeclined
}

// Say writes a line, which may hold what others chose.
func (t *Terminal) Say(ctx context.Context, text string) { _ = t.write(ctx, clean(text)+"\n") }

func heading(title, text string) string {
	text = strings.TrimSpace(clean(text))
	if title != "" {
		return clean(title) + ": " + text + "\n"
	}
	return text + "\n"
}

// ask shows a text and reads a line into b, through typed. If ctx ends, the error is its cause.
func (t *Terminal) ask(ctx context.Context, text string, b, typed []byte) (n int, err error) {
	if err := t.write(ctx, text); err != nil {
		return 0, err
	}
	defer func() { _ = t.write(context.WithoutCancel(ctx), "\n") }()
	l := &line{b: b}
	for {
		if err := Wait(ctx, t.fd, false); err != nil {
			return 0, err
		}
		m, err := unix.Read(t.fd, typed)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil || m == 0:
			return 0, fmt.Errorf("%w: the terminal has gone: %w", ErrUnavailable, err)
		}
		done, err := l.take(typed[:m])
		guard.Wipe(typed[:m])
		if done || err != nil {
			return l.n, err
		}
	}
}

// write writes all of a text, for as long as the terminal takes output.
func (t *Terminal) write(ctx context.Context, text string) error {
	for b := []byte(text); len(b) > 0; {
		n, err := unix.Write(t.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && ctx.Done() != nil:
			if err := Wait(ctx, t.fd, true); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("%w: write to the terminal: %w", ErrUnavailable, err)
		default:
			b = b[n:]
		}
	}
	return nil
}

// Wait returns when a terminal can be read or, if write is set, be written to; or with
// ctx's cause.
func Wait(ctx context.Context, fd int, write bool) error {
	var wake [2]int
	if err := unix.Pipe(wake[:]); err != nil {
		return fmt.Errorf("wait for the terminal: %w", err)
	}
	defer unix.Close(wake[0])
	defer unix.Close(wake[1])
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(wake[1], []byte{0})
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	for {
		var in, out unix.FdSet // select, because macOS's poll doesn't support /dev/tty
		in.Set(wake[0])
		if write {
			out.Set(fd)
		} else {
			in.Set(fd)
		}
		_, err := unix.Select(max(fd, wake[0])+1, &in, &out, nil, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for the terminal: %w", err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		return nil
	}
}
