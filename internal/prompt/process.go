package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"vigil/internal/guard"
)

// killWait is how long to wait for the output of a killed prompt, which a child
// process may keep open.
const killWait = time.Second

// command prepares a prompting program in a new process group, which is killed as a
// whole when ctx ends: an askpass script often waits for a program that shows the
// window.
func command(ctx context.Context, env []string, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = env
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = killWait
	return cmd
}

// without returns environ without the variables names.
func without(environ []string, names ...string) []string {
	var out []string
next:
	for _, kv := range environ {
		for _, name := range names {
			if strings.HasPrefix(kv, name+"=") {
				continue next
			}
		}
		out = append(out, kv)
	}
	return out
}

// hint is the variable that tells an askpass program what kind of prompt to show:
// "confirm" for yes and no, unset for a passphrase (OpenSSH: ssh_askpass).
const hint = "SSH_ASKPASS_PROMPT"

// question joins title and text: an askpass program takes only one text.
func question(title, text string) string {
	if title == "" {
		return text
	}
	return title + "\n\n" + text
}

func (p *Prompter) askpassConfirm(ctx context.Context, title, text string) error {
	var answer [16]byte // "yes", or nothing
	env := append(without(p.env, hint), hint+"=confirm")
	n, err := runAskpass(ctx, command(ctx, env, p.askpass, question(title, text)), answer[:])
	if errors.Is(err, ErrTooLong) {
		return ErrDeclined
	}
	if err != nil {
		return err
	}
	// readpass.c, ask_permission: nothing and "yes" are a yes.
	if n == 0 || strings.EqualFold(string(answer[:n]), "yes") {
		return nil
	}
	return ErrDeclined
}

// Show shows a text without asking anything until ctx ends, by an askpass program that
// can: OpenSSH's own do. (OpenSSH: notify_start.) Without one it does nothing.
func (p *Prompter) Show(ctx context.Context, title, text string) {
	if p.askpass == "" {
		return
	}
	cmd := command(ctx, append(without(p.env, hint), hint+"=none"), p.askpass, question(title, text))
	if cmd.Start() == nil {
		_ = cmd.Wait() // a notice has no answer, and ends when it is killed
	}
}

// PassphraseInto asks for a passphrase that this process doesn't see: the askpass program
// writes it, and usually a line end, to w, which the caller closes. It returns when the
// program has ended. The errors are those of Passphrase but ErrTooLong; after one, what
// was written is no answer. It is ErrUnavailable without an askpass program: pinentry
// speaks a protocol, which this process would see.
func (p *Prompter) PassphraseInto(ctx context.Context, title, text string, w *os.File) error {
	if p.askpass == "" {
		if err := p.Available(); err != nil {
			return err
		}
		return fmt.Errorf("%w: pinentry isn't asked for it; set SSH_ASKPASS", ErrUnavailable)
	}
	cmd := command(ctx, without(p.env, hint), p.askpass, question(clean(title), clean(text)))
	cmd.Stdout = w
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return ErrDeclined
	case err != nil:
		return fmt.Errorf("%w: run askpass program: %w", ErrUnavailable, err)
	}
	return nil
}

func (p *Prompter) askpassPassphrase(ctx context.Context, title, text string, m Memory, use func([]byte) (string, error)) error {
	for shown := text; ; {
		n, err := runAskpass(ctx, command(ctx, without(p.env, hint), p.askpass, question(title, shown)), m.Answer)
		if err != nil {
			return err
		}
		wrong, err := use(m.Answer[:n])
		guard.Wipe(m.Answer)
		if wrong == "" || err != nil {
			return err
		}
		shown = clean(wrong) + "\n\n" + text
	}
}

// runAskpass runs an askpass program and returns the length of its answer in
// buf: the first line of its standard output. Any exit status but 0 is a no.
func runAskpass(ctx context.Context, cmd *exec.Cmd, buf []byte) (int, error) {
	// Not os/exec's StdoutPipe, which Wait closes, or its Stdout field, which
	// would copy the answer through the heap.
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 0, fmt.Errorf("%w: start askpass program: %w", ErrUnavailable, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now().Add(killWait)) })
	defer stop()
	n, readErr := readAnswer(r, buf)
	r.Close() // a program that keeps writing gets SIGPIPE
	waitErr := cmd.Wait()
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case readErr != nil:
		return 0, readErr
	case errors.As(waitErr, &exit):
		return 0, ErrDeclined
	case waitErr != nil:
		return 0, fmt.Errorf("run askpass program: %w", waitErr)
	}
	return n, nil
}

// readAnswer reads r to its end into buf and returns the length of the first line.
// The error is ErrTooLong if the answer doesn't fit.
func readAnswer(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return firstLine(buf[:n]), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the answer: %w", err)
		}
	}
	var more [1]byte
	m, err := r.Read(more[:])
	clear(more[:])
	if m > 0 || err == nil {
		return 0, ErrTooLong
	}
	return firstLine(buf[:n]), nil
}

// firstLine returns the length of b's first line, without its end.
func firstLine(b []byte) int {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			return i
		}
	}
	return len(b)
}
