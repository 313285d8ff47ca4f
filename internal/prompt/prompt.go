// Package prompt asks the human at the machine, with the program that SSH_ASKPASS
// names, as ssh-agent does, or with pinentry.
//
// The daemon often runs outside the desktop session, so the programs are chosen by
// an environment given to New, never by the process's own. If there is no way to
// ask, the error says what would provide one.
package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"vigil/internal/guard"
)

// ErrDeclined reports that the human said no, closed the prompt, or didn't
// answer before the prompting program gave up.
var ErrDeclined = errors.New("declined at the prompt")

// ErrUnavailable reports that there is no way to ask. The wrapping error says why,
// and what would help.
var ErrUnavailable = errors.New("no way to ask")

// ErrTooLong reports an answer that doesn't fit into the buffer.
var ErrTooLong = errors.New("the answer is too long")

const (
	// MaxText is the longest text that is shown, in bytes. Parts of it, such as
	// host names, are untrusted.
	MaxText = 4096
	// MaxPassphrase is the buffer that Passphrase needs for the longest
	// passphrase and the line end that some programs add.
	MaxPassphrase = 1024 + 2
	// MaxLine is the longest line of pinentry's, in bytes with its end.
	MaxLine = maxLine
)

// Prompter asks with one program. It holds no state, so several prompts can be open
// at once; the caller decides whether they should.
type Prompter struct {
	env      []string
	askpass  string // absolute path, or ""
	pinentry string // absolute path, or ""
	reason   string // why there is neither
}

// New chooses the program by an environment in the form of os.Environ. The program
// gets that environment plus SSH_ASKPASS_PROMPT. SSH_ASKPASS names the askpass program
// and SSH_ASKPASS_REQUIRE is never, prefer or force, as in ssh(1): without force it
// needs DISPLAY or WAYLAND_DISPLAY. Pinentry is the fallback, and needs one of these
// or GPG_TTY. New starts nothing.
func New(environ []string) *Prompter {
	get := lookup(environ)
	p := &Prompter{env: environ}
	desktop := get("DISPLAY") != "" || get("WAYLAND_DISPLAY") != ""
	require := strings.ToLower(get("SSH_ASKPASS_REQUIRE"))
	askpass := get("SSH_ASKPASS")
	if askpass == "" {
		askpass = first(askpassPlaces)
	}
	switch {
	case require == "never":
		p.reason = "SSH_ASKPASS_REQUIRE=never forbids it"
		return p
	case !desktop && require != "force":
		p.reason = "neither DISPLAY nor WAYLAND_DISPLAY is set where vigild runs; set one, or SSH_ASKPASS and SSH_ASKPASS_REQUIRE=force"
	case askpass == "":
		p.reason = "no askpass program is installed; install one or set SSH_ASKPASS"
	default:
		// The user chose SSH_ASKPASS, so an unusable one is an error, not a
		// reason to fall back.
		if err := executable(askpass); err != nil {
			p.reason = fmt.Sprintf("SSH_ASKPASS: %v", err)
			return p
		}
		p.askpass = askpass
		return p
	}
	if desktop || get("GPG_TTY") != "" {
		p.pinentry = first(pinentryPlaces)
	}
	return p
}

// Available returns nil, or ErrUnavailable with the reason why asking would fail.
func (p *Prompter) Available() error {
	if p.askpass == "" && p.pinentry == "" {
		return fmt.Errorf("%w: %s", ErrUnavailable, p.reason)
	}
	return nil
}

// Program returns the absolute path of the program that asks, or "".
func (p *Prompter) Program() string {
	if p.askpass != "" {
		return p.askpass
	}
	return p.pinentry
}

// Confirm asks a yes-or-no question, and returns nil for yes. With a time for longer, a
// person may also say yes for that time; a program with two answers only asks for that,
// and says so. The error is ErrDeclined for no and ErrUnavailable if there is no
// way to ask. If ctx ends first, the prompt is closed and the error is ctx's. The text may
// have several lines; control characters in it are shown as question marks.
func (p *Prompter) Confirm(ctx context.Context, title, text string, longer time.Duration) (forLonger bool, err error) {
	if err := p.Available(); err != nil {
		return false, err
	}
	title, text = clean(title), clean(text)
	if p.askpass != "" {
		err := p.askpassConfirm(ctx, title, text+yesHolds(longer))
		return longer > 0 && err == nil, err
	}
	return p.pinentryConfirm(ctx, title, text, longer)
}

// yesHolds is what an askpass program says of a yes that holds for a time.
func yesHolds(longer time.Duration) string {
	if longer == 0 {
		return ""
	}
	return fmt.Sprintf("\n\nA yes holds for %d minutes.", longer/time.Minute)
}

// Memory is where a passphrase is while it is read: guarded memory, in which nothing else
// is, and which is wiped when Passphrase returns.
type Memory struct {
	Answer []byte // of MaxPassphrase bytes, for the longest
	Line   []byte // of MaxLine bytes: a line of pinentry's
}

// Passphrase asks for a passphrase and calls use with it, without a line end. The bytes go
// from the pipe into m, and are not copied elsewhere in this process; use doesn't keep
// them. If use returns what was wrong with it, that is shown and it is asked for again.
// Only the asker calls it. Errors are those of Confirm and of use, and ErrTooLong.
func (p *Prompter) Passphrase(ctx context.Context, title, text string, m Memory, use func(passphrase []byte) (wrong string, err error)) error {
	if err := p.Available(); err != nil {
		return err
	}
	defer guard.Wipe(m.Answer)
	title, text = clean(title), clean(text)
	if p.askpass != "" {
		return p.askpassPassphrase(ctx, title, text, m, use)
	}
	return p.pinentryPassphrase(ctx, title, text, m, use)
}

// askpassPlaces are where systems keep the default askpass program.
var askpassPlaces = []string{
	"/usr/bin/ssh-askpass", "/usr/lib/ssh/ssh-askpass", "/usr/libexec/openssh/ssh-askpass",
	"/usr/libexec/ssh-askpass", "/usr/X11R6/bin/ssh-askpass", "/opt/X11/bin/ssh-askpass",
}

// pinentryPlaces are where systems keep pinentry.
var pinentryPlaces = []string{
	"/usr/bin/pinentry", "/usr/local/bin/pinentry", "/opt/homebrew/bin/pinentry",
}

// first returns the first of the paths that can be run, or "".
func first(paths []string) string {
	for _, path := range paths {
		if executable(path) == nil {
			return path
		}
	}
	return ""
}

// executable checks that path is the absolute path of a program. A relative path
// would be looked up in the daemon's working directory.
func executable(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%.200q isn't an absolute path", path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%.200q isn't an executable file", path)
	}
	return nil
}

// lookup returns the last value of a variable, as os/exec passes it on.
func lookup(environ []string) func(name string) string {
	return func(name string) string {
		for i := len(environ) - 1; i >= 0; i-- {
			if value, ok := strings.CutPrefix(environ[i], name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// clean makes text fit for a prompt: at most MaxText bytes. It keeps line ends, and
// replaces invalid UTF-8 and other control and formatting characters, which could
// rearrange the text.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) > MaxText {
		text = strings.ToValidUTF8(text[:MaxText], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
