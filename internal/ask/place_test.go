package ask

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPlaces(t *testing.T) {
	program := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	null := uint64(1<<8 | 3) // makedev(1, 3)
	for name, tt := range map[string]struct {
		own     string
		desktop map[string]string
		err     error // of asking for the desktop
		caller  Caller

		forwarded bool

		want string // of the environment, sorted; "": nobody can be asked
		why  string
	}{
		"a desktop of its own": {own: "DISPLAY=:1 SSH_ASKPASS=" + program, want: "DISPLAY=:1 SSH_ASKPASS=" + program},
		"the desktop as it is now": {
			own: "DISPLAY=:1 XAUTHORITY=old HOME=/h SSH_ASKPASS=" + program, desktop: map[string]string{"WAYLAND_DISPLAY": "w", "LANG": "C"},
			want: "HOME=/h LANG=C SSH_ASKPASS=" + program + " WAYLAND_DISPLAY=w",
		},
		"what the manager says of programs counts for nothing": {
			own:     "SSH_ASKPASS=" + program,
			desktop: map[string]string{"DISPLAY": ":7", "SSH_ASKPASS": "/evil", "SSH_ASKPASS_REQUIRE": "never", "PATH": "/evil", "HOME": "/evil", "LD_PRELOAD": "/evil.so", "GPG_TTY": "/dev/evil", "PINENTRY_USER_DATA": "x"},
			want:    "DISPLAY=:7 SSH_ASKPASS=" + program,
		},
		"a manager without a desktop": {own: "DISPLAY=:1 SSH_ASKPASS=" + program, desktop: map[string]string{"LANG": "C"}, want: "DISPLAY=:1 SSH_ASKPASS=" + program},
		"no manager":                  {own: "DISPLAY=:1 SSH_ASKPASS=" + program, err: errors.New("none"), want: "DISPLAY=:1 SSH_ASKPASS=" + program},
		"nowhere":                     {own: "SSH_ASKPASS=" + program, why: "neither DISPLAY nor WAYLAND_DISPLAY is set"},
		"forbidden":                   {own: "DISPLAY=:1 SSH_ASKPASS_REQUIRE=never", desktop: map[string]string{"DISPLAY": ":7"}, why: "SSH_ASKPASS_REQUIRE=never forbids it"},
		"without a desktop, by its program": {
			own: "SSH_ASKPASS_REQUIRE=force GPG_TTY=/dev/null SSH_ASKPASS=" + program, want: "SSH_ASKPASS=" + program + " SSH_ASKPASS_REQUIRE=force",
		},
		"the caller's terminal": {
			own: "DISPLAY=:1 GPG_TTY=/dev/null SSH_ASKPASS=" + program, caller: Caller{tty: null, front: true},
			want: "DISPLAY=:1 GPG_TTY=/dev/null SSH_ASKPASS=" + program,
		},
		"a caller that forwards the agent":      {own: "GPG_TTY=/dev/null", caller: Caller{tty: null, front: true}, forwarded: true, why: `"/dev/null", is used for`},
		"a caller in its terminal's background": {own: "GPG_TTY=/dev/null", caller: Caller{tty: null}, why: `the terminal that GPG_TTY named then, "/dev/null", is used for what runs in its foreground`},
		"a caller on another terminal":          {own: "GPG_TTY=/dev/null", caller: Caller{tty: null + 2, front: true}, why: `"/dev/null", is used for`},
		"a terminal that is a file":             {own: "GPG_TTY=" + program, caller: Caller{front: true}, why: "is used for"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Places{Own: strings.Fields(tt.own)}
			if tt.desktop != nil || tt.err != nil {
				p.Desktop = func(context.Context) (map[string]string, error) { return tt.desktop, tt.err }
			}
			place, err := p.Find(t.Context(), p.Locate(Request{Caller: tt.caller, Forwarded: tt.forwarded}))
			var got []string
			if err == nil {
				got = slices.Clone(place.environ)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if (tt.want == "") != errors.Is(err, ErrUnavailable) || err != nil && !strings.Contains(err.Error(), tt.why) {
				t.Errorf("got %v, want %q", err, tt.why)
			}
			if own := strings.Join(p.Own, " "); own != tt.own {
				t.Errorf("vigild's own environment is %q now", own)
			}
		})
	}
}

// Without a manager's folder, systemctl isn't started.
func TestNoManagerIsAskedWhereNoneRuns(t *testing.T) {
	dir, asked := t.TempDir(), 0
	desktop := FromManager([]string{"XDG_RUNTIME_DIR=" + dir}, func(context.Context) (map[string]string, error) { asked++; return nil, nil })
	if _, err := desktop(t.Context()); err == nil || asked != 0 {
		t.Errorf("got %v, asked %d times", err, asked)
	}
	if err := os.Mkdir(filepath.Join(dir, "systemd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := desktop(t.Context()); err != nil || asked != 1 {
		t.Errorf("got %v, asked %d times", err, asked)
	}
}
