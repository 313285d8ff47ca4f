package ask

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/prompt"
)

// Places says where a prompt appears. What the requester's environment says is never
// looked at: whoever asks must not choose who answers.
type Places struct {
	// Own is the front's environment. Which program shows the prompt is taken from it
	// alone, as is a terminal.
	Own []string
	// Desktop returns the environment of the user's manager of services as it is now;
	// nil: there is none. A front that was started before the desktop doesn't have it.
	Desktop func(context.Context) (map[string]string, error)
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

// Environ returns the environment for a prompt on behalf of a caller. The error is
// ErrUnavailable.
func (p *Places) Environ(ctx context.Context, c Caller) ([]string, error) {
	own := p.Own
	tty := valueOf(own, "GPG_TTY")
	if tty != "" && !c.inForeground(tty) {
		// pinentry would race with the shell, or another program, for what is typed there.
		own = without(own, "GPG_TTY")
	}
	if desktop := p.desktop(ctx); desktop != nil {
		environ := append(without(own, ofDesktop...), desktop...)
		if prompt.New(environ).Available() == nil {
			return environ, nil
		}
	}
	err := prompt.New(own).Available()
	if err == nil {
		return own, nil
	}
	why := strings.TrimPrefix(err.Error(), prompt.ErrUnavailable.Error()+": ")
	if tty != "" && valueOf(own, "GPG_TTY") == "" {
		why += fmt.Sprintf("; the terminal that GPG_TTY named then, %.100q, is used for what runs in its foreground", tty)
	}
	return nil, fmt.Errorf("%w: %s", ErrUnavailable, why)
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
