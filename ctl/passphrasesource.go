package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vigil/internal/control"
)

// passphraseTries is how many times a user may try to type a passphrase.
const passphraseTries = 3

// source is where one of a command's passphrases comes from: a descriptor or
// a file, which are passed on unread, or else the terminal.
type source struct {
	name string // of its flags: "passphrase" or "key-passphrase"
	what string // what it is the passphrase of, in messages
	fd   descriptor
	file string
	// once allows one try only, because another input can't be read again.
	once bool
	// why says, in a clause, why it is asked for; empty: the command says it.
	why string
	// ready is what must hold before it is worth asking.
	ready control.ReadyRequest
	// suggest shows a new passphrase before one is asked for.
	suggest bool
}

// flags adds --NAME-fd and --NAME-file to a command.
func (s *source) flags(cmd *cobra.Command) {
	cmd.Flags().Var(&s.fd, s.name+"-fd", "read "+s.what+" from descriptor `N`")
	cmd.Flags().StringVar(&s.file, s.name+"-file", "", "read "+s.what+" from `FILE` (\"-\": standard input)")
	cmd.MarkFlagsMutuallyExclusive(s.name+"-fd", s.name+"-file")
}

// suggestFlag adds --suggest to a command that asks for a new passphrase.
func (s *source) suggestFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.suggest, "suggest", false, "show a passphrase of eight words that you may choose")
	cmd.MarkFlagsMutuallyExclusive("suggest", s.name+"-fd", s.name+"-file")
}

// descriptor is the value of a --…-fd flag; -1 means none.
type descriptor int

// Type returns the placeholder for the value in help.
func (d *descriptor) Type() string { return "N" }

func (d *descriptor) String() string {
	if *d < 0 {
		return ""
	}
	return strconv.Itoa(int(*d))
}

// Set reads a descriptor's number.
func (d *descriptor) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("not the number of a descriptor")
	}
	*d = descriptor(n)
	return nil
}

func vaultPassphrase() *source {
	return &source{name: "passphrase", what: "the vault's passphrase", fd: -1}
}

func keyPassphrase() *source {
	return &source{name: "key-passphrase", what: "the key file's passphrase", fd: -1}
}

// given reports whether the flags name a source.
func (s *source) given() bool { return s.fd >= 0 || s.file != "" }

// stdin reports whether the source is standard input.
func (s *source) stdin(a *app) bool {
	return s.file == "-" || s.fd >= 0 && int(s.fd) == int(a.stdin.Fd())
}

// open opens the file that the flags name, without reading it. The caller closes it.
func (s *source) open(a *app) (*os.File, error) {
	switch {
	case s.file == "-":
		if isTerminal(int(a.stdin.Fd())) {
			return nil, control.Errorf(control.CodeUsage, "Leave the flag out to be asked without an echo.",
				"--%s-file -: standard input is a terminal", s.name)
		}
		return duplicate(int(a.stdin.Fd()), "standard input")
	case s.file != "":
		// Not blocking: a named pipe without a writer could not be interrupted. The
		// daemon waits for its input.
		f, err := os.OpenFile(s.file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err == nil {
			err = unix.SetNonblock(int(f.Fd()), false)
		}
		if err != nil {
			return nil, control.Errorf(control.CodeUsage, "", "read %s: %v", s.what, err)
		}
		return f, nil
	}
	f, err := duplicate(int(s.fd), fmt.Sprintf("descriptor %d", s.fd))
	if err != nil {
		return nil, control.Errorf(control.CodeUsage, fmt.Sprintf("Open it for reading: `vigilctl … --%s-fd %d %d<FILE`.", s.name, s.fd, s.fd),
			"read %s: descriptor %d: %v", s.what, s.fd, err)
	}
	return f, nil
}

// duplicate returns a file on a close-on-exec copy of fd. The caller closes it.
func duplicate(fd int, name string) (*os.File, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	if flags&unix.O_ACCMODE == unix.O_WRONLY {
		return nil, errors.New("not open for reading")
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dup), name), nil
}

// withPassphrase calls use with the source's passphrase: once if it is from a flag;
// otherwise it asks, up to passphraseTries times while use fails with code wrong.
func (a *app) withPassphrase(ctx context.Context, s *source, prompt string, wrong control.Code, use func(*os.File) error) error {
	if s.given() {
		f, err := s.open(a)
		if err != nil {
			return err
		}
		defer f.Close()
		return use(f)
	}
	if _, err := a.worthAsking(ctx, &s.ready); err != nil {
		return err
	}
	t, err := a.openTerminal()
	if err != nil {
		return noTerminal(s)
	}
	defer t.close()
	if s.why != "" {
		t.say("%s", sentence(s.why))
	}
	for try := 1; ; try++ {
		err := t.withSecret(ctx, prompt, use)
		var e *control.Error
		if s.once || try == passphraseTries || !errors.As(err, &e) || e.Code != wrong {
			return err
		}
		t.say("%s", e.Message)
	}
}

// worthAsking checks, before a person types a passphrase, that it won't be in vain, and
// that no tracer could see it here or in the daemon. If a service manager made the
// daemon's socket, the peer's identity is only right from the second connection on, so
// the connection that takes the passphrase is checked again.
func (a *app) worthAsking(ctx context.Context, req *control.ReadyRequest) (*control.ReadyReply, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Untraced(); err != nil {
		return nil, err
	}
	return control.Do(ctx, c, req)
}

// yourPassphrase is the prompt for the passphrase of this device's identity.
const yourPassphrase = "Your passphrase of the vault: "

// callWithPassphrase is call for a request that takes a vault's passphrase in the
// request's field into.
func callWithPassphrase[R any](ctx context.Context, a *app, pass *source, prompt string, req control.Request[R], into **os.File) (reply *R, err error) {
	err = a.withPassphrase(ctx, pass, prompt, control.CodeWrongPassphrase, func(f *os.File) (err error) {
		*into = f
		reply, err = call(ctx, a, req)
		return err
	})
	return reply, err
}

// sendWithPassphrase is like callWithPassphrase, and prints the reply.
func sendWithPassphrase[R any](ctx context.Context, a *app, pass *source, prompt string, req control.Request[R], into **os.File, human func(io.Writer, *R)) error {
	reply, err := callWithPassphrase(ctx, a, pass, prompt, req, into)
	if err != nil {
		return err
	}
	return a.print(reply, func(w io.Writer) { human(w, reply) })
}

// withSecret asks once and calls use with a pipe that holds the answer.
func (t *terminal) withSecret(ctx context.Context, prompt string, use func(*os.File) error) error {
	pass, err := t.readSecret(ctx, prompt)
	if err != nil {
		return err
	}
	defer pass.wipe()
	f, err := pass.pipe()
	if err != nil {
		return err
	}
	defer f.Close()
	return use(f)
}

func noTerminal(s *source) error {
	return control.Errorf(control.CodeUsage, fmt.Sprintf("Give --%s-file FILE or --%s-fd N, or run it on a terminal. Nothing was changed.", s.name, s.name),
		"%sthere is no terminal to ask for %s", because(s.why), s.what)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return why + "; "
}

// newPassphrase is a new passphrase, from a source's flags or typed twice. Its
// owner calls wipe.
type newPassphrase struct {
	source *source
	typed  *secret // nil if a flag is given
}

// askNew asks for a new passphrase unless the source's flags give one.
func (a *app) askNew(ctx context.Context, s *source, prompt string) (*newPassphrase, error) {
	if s.given() {
		return &newPassphrase{source: s}, nil
	}
	ready, err := a.worthAsking(ctx, &s.ready)
	if err != nil {
		return nil, err
	}
	t, err := a.openTerminal()
	if err != nil {
		return nil, noTerminal(s)
	}
	defer t.close()
	if s.suggest {
		if err := t.suggest(); err != nil {
			return nil, err
		}
	}
	typed, err := t.newSecret(ctx, prompt, func(pass *secret) string { return a.measure(ctx, pass, ready.Guess) })
	return &newPassphrase{s, typed}, err
}

// open returns a file to read the passphrase from, which the caller closes. It can
// be called again unless the source is a pipe, which can be read only once.
func (p *newPassphrase) open(a *app) (*os.File, error) {
	if p.source.given() {
		return p.source.open(a)
	}
	return p.typed.pipe()
}

func (p *newPassphrase) wipe() {
	if p != nil {
		p.typed.wipe()
	}
}
