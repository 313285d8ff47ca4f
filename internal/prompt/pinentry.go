package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/internal/guard"
)

// maxLine is the longest line of the Assuan protocol, in bytes with its end.
const maxLine = 1002

// Error codes of libgpg-error for a no by the human; the upper half of a code names
// the program that reports it.
const (
	gpgTimeout      = 62
	gpgCanceled     = 99
	gpgNotConfirmed = 114
	gpgCodeMask     = 0xffff
)

// assuanError is an ERR line.
type assuanError struct {
	code int
	text string
}

func (e *assuanError) Error() string { return fmt.Sprintf("pinentry: %s (%d)", e.text, e.code) }

// assuan is a client of the Assuan protocol with a pinentry, as described in the
// manuals of pinentry ("Protocol") and libassuan ("Server responses").
type assuan struct {
	r    io.Reader
	w    io.Writer
	line []byte // of maxLine bytes: what was read, which may be a passphrase
	have int    // bytes of line that are filled
}

// threeButtons are the pinentries that show SETNOTOK's button and tell it from a cancel:
// of others an answer that isn't OK may be either, and a cancel must not permit anything.
// (pinentry 1.3: gtk+-2, qt, qt5, curses and tty.)
var threeButtons = []string{"gtk2", "qt", "qt4", "qt5", "curses", "tty"}

func (p *Prompter) pinentryConfirm(ctx context.Context, title, text string, longer time.Duration) (forLonger bool, err error) {
	err = p.withPinentry(ctx, title, text, make([]byte, maxLine), func(a *assuan) error {
		buttons := [][2]string{{"SETOK", "Allow"}, {"SETCANCEL", "Deny"}}
		more := fmt.Sprintf("Allow for %d minutes", longer/time.Minute)
		third := longer > 0 && slices.Contains(threeButtons, a.flavor())
		switch {
		case third:
			buttons = [][2]string{{"SETOK", "Allow once"}, {"SETNOTOK", more}, {"SETCANCEL", "Deny"}}
		case longer > 0:
			buttons[0][1] = more // not in the text, which may be cut off
			forLonger = true
		}
		for _, b := range buttons {
			if err := a.command(b[0], b[1]); err != nil {
				return err
			}
		}
		err := a.command("CONFIRM", "")
		var no *assuanError
		if third && errors.As(err, &no) && no.code&gpgCodeMask == gpgNotConfirmed {
			forLonger = true
			return nil
		}
		return err
	})
	return forLonger && err == nil, err
}

// flavor returns the kind of pinentry, "" if it doesn't say.
func (a *assuan) flavor() string {
	var answer [64]byte
	n, err := a.data("GETINFO flavor", answer[:])
	if err != nil {
		return ""
	}
	kind, _, _ := strings.Cut(string(answer[:n]), ":")
	return kind
}

func (p *Prompter) pinentryPassphrase(ctx context.Context, title, text string, m Memory, use func([]byte) (string, error)) error {
	return p.withPinentry(ctx, title, text, m.Line, func(a *assuan) error {
		if err := a.command("SETPROMPT", "Passphrase:"); err != nil {
			return err
		}
		for {
			n, err := a.data("GETPIN", m.Answer)
			if err != nil {
				return err
			}
			wrong, err := use(m.Answer[:n])
			guard.Wipe(m.Answer)
			if wrong == "" || err != nil {
				return err
			}
			if err := a.command("SETERROR", clean(wrong)); err != nil {
				return err
			}
		}
	})
}

// withPinentry starts a pinentry, sends its options and texts, and calls ask for the
// rest. Its lines are read into line.
func (p *Prompter) withPinentry(ctx context.Context, title, text string, line []byte, ask func(*assuan) error) error {
	cmd := command(ctx, p.env, p.pinentry)
	in, toPinentry, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer toPinentry.Close()
	fromPinentry, out, err := os.Pipe()
	if err != nil {
		in.Close()
		return fmt.Errorf("make pipe: %w", err)
	}
	defer fromPinentry.Close()
	cmd.Stdin, cmd.Stdout = in, out
	err = cmd.Start()
	in.Close()
	out.Close()
	if err != nil {
		return fmt.Errorf("%w: start pinentry: %w", ErrUnavailable, err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = fromPinentry.SetReadDeadline(time.Now().Add(killWait))
		_ = toPinentry.SetWriteDeadline(time.Now().Add(killWait))
	})
	defer stop()
	restore := keepTerminal(lookup(p.env)("GPG_TTY"))
	a := &assuan{r: fromPinentry, w: toPinentry, line: line}
	err = a.converse(lookup(p.env), title, text, ask)
	guard.Wipe(line)
	toPinentry.Close() // pinentry ends with its input
	fromPinentry.Close()
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		restore() // it was killed
		return context.Cause(ctx)
	}
	var ae *assuanError
	switch {
	case errors.As(err, &ae):
		switch ae.code & gpgCodeMask {
		case gpgTimeout, gpgCanceled, gpgNotConfirmed:
			return ErrDeclined
		}
		// Any other error, such as no terminal, is not an answer.
		return fmt.Errorf("%w: %w", ErrUnavailable, ae)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: pinentry ended without an answer: %w", ErrUnavailable, errors.Join(err, waitErr))
	case err != nil:
		return err
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return fmt.Errorf("run pinentry: %w", waitErr)
	}
	return nil
}

// converse holds the whole dialogue.
func (a *assuan) converse(get func(string) string, title, text string, ask func(*assuan) error) error {
	if err := a.reply(); err != nil { // the greeting
		return err
	}
	for _, o := range []struct{ option, value string }{
		{"ttyname", get("GPG_TTY")},
		{"ttytype", get("TERM")},
		{"lc-ctype", firstOf(get("LC_ALL"), get("LC_CTYPE"), get("LANG"))},
		{"lc-messages", firstOf(get("LC_ALL"), get("LC_MESSAGES"), get("LANG"))},
	} {
		if o.value == "" {
			continue
		}
		// Ask even if this pinentry doesn't know an option.
		var ae *assuanError
		if err := a.command("OPTION", o.option+"="+o.value); err != nil && !errors.As(err, &ae) {
			return err
		}
	}
	for _, s := range []struct{ command, text string }{{"SETTITLE", title}, {"SETDESC", text}} {
		if s.text == "" {
			continue
		}
		if err := a.command(s.command, s.text); err != nil {
			return err
		}
	}
	return ask(a)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// command sends one command with an escaped argument and reads its reply.
func (a *assuan) command(name, arg string) error {
	if err := a.send(name, arg); err != nil {
		return err
	}
	return a.reply()
}

// send writes a command, and truncates it between characters if it doesn't fit into
// a line, which only the longest texts don't.
func (a *assuan) send(name, arg string) error {
	line := name
	if arg != "" {
		line += " "
		for _, r := range arg {
			s := string(r)
			if strings.ContainsRune("%\r\n", r) {
				s = fmt.Sprintf("%%%02X", r)
			}
			if len(line)+len(s) >= maxLine-1 {
				break
			}
			line += s
		}
	}
	if _, err := io.WriteString(a.w, line+"\n"); err != nil {
		return fmt.Errorf("write to pinentry: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// reply reads lines up to OK or ERR. It ignores comments and status lines.
func (a *assuan) reply() error {
	for {
		line, err := a.next()
		if err != nil {
			return err
		}
		done, err := verdict(line)
		a.drop(len(line) + 1)
		if done || err != nil {
			return err
		}
	}
}

// data sends a command and reads the D lines of its answer, unescaped, into buf.
func (a *assuan) data(name string, buf []byte) (int, error) {
	if err := a.send(name, ""); err != nil {
		return 0, err
	}
	n := 0
	for {
		line, err := a.next()
		if err != nil {
			return 0, err
		}
		if d, ok := bytes.CutPrefix(line, []byte("D ")); ok {
			var m int
			var ok bool
			guard.Do(func() { m, ok = unescape(buf[n:], d) })
			a.drop(len(line) + 1)
			if !ok {
				return 0, ErrTooLong
			}
			n += m
			continue
		}
		done, err := verdict(line)
		a.drop(len(line) + 1)
		if done || err != nil {
			return n, err
		}
	}
}

// verdict reports whether line ends a reply, and with which error.
func verdict(line []byte) (bool, error) {
	word, rest, _ := strings.Cut(string(line[:min(len(line), 200)]), " ")
	switch word {
	case "OK":
		return true, nil
	case "ERR":
		number, text, _ := strings.Cut(rest, " ")
		code, err := strconv.Atoi(number)
		if err != nil {
			code = 0
		}
		return true, &assuanError{code: code, text: clean(text)}
	case "INQUIRE":
		return true, errors.New("pinentry asks what nothing here answers")
	}
	return false, nil
}

// unescape writes src with %XX decoded to dst, and reports whether it fits.
func unescape(dst, src []byte) (int, bool) {
	n := 0
	for i := 0; i < len(src); i++ {
		c := src[i]
		if c == '%' && i+2 < len(src) {
			hi, ok1 := unhex(src[i+1])
			lo, ok2 := unhex(src[i+2])
			if ok1 && ok2 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if n == len(dst) {
			return 0, false
		}
		dst[n] = c
		n++
	}
	return n, true
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// next returns the next line without its end, valid until drop.
func (a *assuan) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(a.line[:a.have], '\n'); i >= 0 {
			return a.line[:i], nil
		}
		if a.have == len(a.line) {
			return nil, errors.New("pinentry sent a line longer than the protocol allows")
		}
		n, err := a.r.Read(a.line[a.have:])
		a.have += n
		if n == 0 && err != nil {
			return nil, fmt.Errorf("read from pinentry: %w", io.ErrUnexpectedEOF)
		}
	}
}

// drop removes n bytes from the front and wipes the space they leave, because a line
// may have held the passphrase.
func (a *assuan) drop(n int) {
	rest := guard.Copy(a.line, a.line[n:a.have])
	guard.Wipe(a.line[rest:a.have])
	a.have = rest
}
