package ask

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/prompt"
	"vigil/internal/session"
)

// Places says where a person is asked. What the requester's environment says is never
// looked at: whoever asks must not choose who answers.
type Places struct {
	// Sessions are the terminal sessions whose shells have registered.
	Sessions session.Registry
	// Standbys are the people who wait for requests with `vigilctl ask`.
	Standbys Standbys
	// Desktop returns the environment of the user's manager of services as it is now;
	// nil: there is none. A front that was started before the desktop doesn't have it.
	Desktop func(context.Context) (map[string]string, error)
	// Own is the front's environment. Which program shows a prompt is taken from it
	// alone, as is a terminal of such a program.
	Own []string
}

// Place is where a person is asked: one of the fields.
type Place struct {
	session *session.Session // on its terminal
	standby *Standby         // by a `vigilctl ask`
	environ []string         // by a program, in this environment

	group    int              // that has the session's terminal for itself
	terminal *prompt.Terminal // as it was before
}

// Close ends the use of the place, whose asker has ended. A terminal is then as it was.
func (p *Place) Close() {
	if p.session == nil {
		return
	}
	p.terminal.Restore() // the asker may have been killed
	p.terminal.Close()
	p.session.Give()
}

// Witnesses returns where a passphrase is typed that comes from the place.
func (p *Place) Witnesses() []Witness {
	switch {
	case p.session != nil:
		return []Witness{{Session: p.session.ID}}
	case p.standby != nil:
		return p.standby.witnesses()
	}
	return nil
}

// tell completes a question by where it is asked.
func (p *Place) tell(q *Question) {
	q.Environ, q.Session, q.Foreground = p.environ, p.session, p.group
}

// answersFor reports whether whoever answers there may allow what a request asks for. At a
// terminal and a `vigilctl ask`, which anything of the user's can pose as, that is who has
// typed the passphrase: of a `vigilctl ask`, itself, as its session is all that runs there.
func (p *Place) answersFor(r *Request) bool {
	switch {
	case r.Proved == nil, p.environ != nil:
		return true
	case p.standby != nil:
		return r.Proved(Witness{Standby: p.standby.number})
	}
	return r.Proved(Witness{Session: p.session.ID})
}

// Witness is where someone types: at a terminal session, or at one `vigilctl ask`. A
// session is everything that runs on its terminal; a `vigilctl ask` is one process.
type Witness struct {
	Session session.ID
	Standby int // the number of the `vigilctl ask`; 0: none
}

// way is one of the ways to a place. The error says why it can't be used.
type way struct {
	name string
	find func(context.Context, *Request) (*Place, error)
}

// ways returns the ways, in their order.
func (p *Places) ways() []way {
	return []way{
		{"on the terminal of the program that asks", p.here},
		{"by `vigilctl ask`", p.standing},
		{"on the desktop of the user's manager of services", p.onDesktop},
		{"where vigild was started", p.own},
	}
}

// Locate completes a request by whether it is from the foreground of a registered session.
func (p *Places) Locate(r Request) Request {
	r.session, r.notHere = p.locate(&r)
	if r.session != nil {
		// A shell's next command line is asked for anew.
		r.Caller.Origin = fmt.Sprintf("%s, group %d", r.Caller.Origin, r.Caller.group)
	}
	return r
}

func (p *Places) locate(r *Request) (*session.Session, error) {
	c := &r.Caller
	switch s := p.Sessions.Find(c.session); {
	case c.tty == 0:
		return nil, errors.New("the program that asks has no terminal")
	case s == nil || s.TTY != c.tty:
		return nil, errors.New("the terminal of the program that asks isn't a registered session's")
	case !c.front:
		return nil, errors.New("the program that asks isn't in its terminal's foreground")
	case r.Forwarded:
		return nil, errors.New("the program that asks is a login that forwards the agent, and reads what is typed on its terminal")
	default:
		return s, nil
	}
}

// Find returns where to ask on behalf of a request, which the caller closes. The error is
// ErrUnavailable.
func (p *Places) Find(ctx context.Context, r Request) (*Place, error) {
	var errs []error
	for _, w := range p.ways() {
		place, err := w.find(ctx, &r)
		if err == nil && !place.answersFor(&r) {
			place.Close()
			err = errors.New("nobody has typed the vault's passphrase there since it was unlocked")
		}
		if err == nil {
			return place, nil
		}
		errs = append(errs, err)
	}
	why := errs[len(errs)-1].Error()
	if r.Caller.tty != 0 {
		why += "; " + errs[0].Error()
	}
	return nil, fmt.Errorf("%w: %s", ErrUnavailable, why)
}

// Way says whether a way to ask can be used: Err is nil, or why it can't.
type Way struct {
	Name string
	Err  error
}

// Try tries each way for a request, in their order. Nobody is asked.
func (p *Places) Try(ctx context.Context, r Request) (tried []Way) {
	for _, w := range p.ways() {
		place, err := w.find(ctx, &r)
		if err == nil {
			place.Close()
		}
		tried = append(tried, Way{w.name, err})
	}
	return tried
}

// here finds the terminal of the session that a request is from.
func (p *Places) here(ctx context.Context, r *Request) (*Place, error) {
	s := r.session
	if s == nil {
		return nil, r.notHere
	}
	if err := s.Take(ctx); err != nil {
		return nil, err
	}
	t, err := prompt.OpenTerminal(s.Path, s.TTY)
	switch {
	case err != nil:
	case s.Foreground() != r.Caller.group: // now that it is open, its number is no other terminal's
		err = ErrLeft
	case !t.Free():
		err = errors.New("a program reads what is typed on the terminal of the one that asks")
	default:
		return &Place{session: s, group: r.Caller.group, terminal: t}, nil
	}
	if t != nil {
		t.Close()
	}
	s.Give()
	return nil, err
}

// ErrLeft reports that the terminal belongs to another program now, which reads what is
// typed.
var ErrLeft = errors.New("the program that asked isn't in its terminal's foreground any more")

// standing finds the newest `vigilctl ask`.
func (p *Places) standing(context.Context, *Request) (*Place, error) {
	s, err := p.Standbys.newest()
	if err != nil {
		return nil, err
	}
	return &Place{standby: s}, nil
}

// onDesktop finds the desktop as it is now.
func (p *Places) onDesktop(ctx context.Context, r *Request) (*Place, error) {
	desktop := p.desktop(ctx)
	if desktop == nil {
		return nil, errors.New("the user's manager of services knows of no desktop")
	}
	environ := append(without(p.ownEnviron(r), ofDesktop...), desktop...)
	if err := available(environ); err != nil {
		return nil, err
	}
	return &Place{environ: environ}, nil
}

// own finds the desktop or the terminal that the front was started on.
func (p *Places) own(_ context.Context, r *Request) (*Place, error) {
	environ := p.ownEnviron(r)
	err := available(environ)
	if err == nil {
		return &Place{environ: environ}, nil
	}
	if tty := valueOf(p.Own, "GPG_TTY"); tty != "" && valueOf(environ, "GPG_TTY") == "" {
		err = fmt.Errorf("%w; the terminal that GPG_TTY named then, %.100q, is used for what runs in its foreground", err, tty)
	}
	return nil, err
}

// ownEnviron returns the front's environment, with a terminal only for what has it for
// itself: pinentry would race with the shell, or another program, for what is typed there.
func (p *Places) ownEnviron(r *Request) []string {
	if tty := valueOf(p.Own, "GPG_TTY"); tty != "" && (r.Forwarded || !r.Caller.inForeground(tty)) {
		return without(p.Own, "GPG_TTY")
	}
	return p.Own
}

// available returns an error unless a program can ask in an environment.
func available(environ []string) error {
	err := prompt.New(environ).Available()
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), prompt.ErrUnavailable.Error()+": "))
}

// desktopTimeout bounds the wait for the manager of services, which usually takes 10 ms.
const desktopTimeout = 3 * time.Second

// ofDesktop are the variables that say where a desktop is, and its language. They don't
// name a program or a library.
var ofDesktop = []string{
	"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR",
	"XDG_CURRENT_DESKTOP", "XDG_SESSION_DESKTOP", "XDG_SESSION_TYPE", "XDG_SESSION_ID", "DESKTOP_SESSION",
	"LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES",
}

// desktop returns where the desktop is now, or nil if there is none.
func (p *Places) desktop(ctx context.Context) (set []string) {
	if p.Desktop == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, desktopTimeout)
	defer cancel()
	now, err := p.Desktop(ctx)
	if err != nil || now["DISPLAY"] == "" && now["WAYLAND_DISPLAY"] == "" {
		return nil
	}
	for _, name := range ofDesktop {
		if value, ok := now[name]; ok {
			set = append(set, name+"="+value)
		}
	}
	return set
}

// inForeground reports whether the caller has the terminal for itself.
func (c *Caller) inForeground(tty string) bool {
	var info unix.Stat_t
	if c.tty == 0 || !c.front || unix.Stat(tty, &info) != nil || info.Mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	return uint64(info.Rdev) == c.tty
}

func valueOf(environ []string, name string) (value string) {
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}

// FromManager returns where the desktop is by a systemd manager of the user, which this
// environment leads to, or nil if there is none.
func FromManager(environ []string, ask func(context.Context) (map[string]string, error)) func(context.Context) (map[string]string, error) {
	folder := valueOf(environ, "XDG_RUNTIME_DIR") + "/systemd"
	return func(ctx context.Context) (map[string]string, error) {
		if _, err := os.Stat(folder); err != nil {
			return nil, err // without starting systemctl for each refused signature
		}
		return ask(ctx)
	}
}
