package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

// TestColours: on a terminal, unless its user or the terminal doesn't want them, and the
// same words without.
func TestColours(t *testing.T) {
	for name, tc := range map[string]struct {
		environ  []string
		coloured bool
	}{
		"a terminal":            {[]string{"TERM=xterm"}, true},
		"an empty NO_COLOR":     {[]string{"TERM=xterm", "NO_COLOR="}, true},
		"NO_COLOR":              {[]string{"TERM=xterm", "NO_COLOR=0"}, false},
		"a dumb terminal":       {[]string{"TERM=dumb"}, false},
		"an unknown terminal":   {nil, false},
		"an empty TERM as well": {[]string{"TERM="}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, p := newBench(t).withDaemon().withPTY()
			b.environ = append(b.environ, tc.environ...)
			b.stdout = p.slave
			run := func(args ...string) string {
				at := len(p.shown())
				b.app(nil, p.slave).run(t.Context(), args)
				if _, err := io.WriteString(p.slave, "<end>"); err != nil {
					t.Fatal(err)
				}
				p.expect("<end>")
				return strings.TrimSuffix(p.shown()[at:], "<end>")
			}
			for said, want := range map[string]string{
				run("status"):                   "vault default: \x1b[32munlocked\x1b[0m, ",
				run("lock"):                     "\x1b[33mlocked\x1b[0m default",
				run("show", "nonesuch"):         "\x1b[1;31mvigilctl:\x1b[0m ",
				run("list", "--json"):           `"keys"`,
				run("show", "x\x1b[2J", "-h"):   "Usage:",
				run("show", "x\x1b[2J", "--no"): "\x1b[1;31mvigilctl:\x1b[0m ",
			} {
				if !tc.coloured {
					want = strings.NewReplacer("\x1b[32m", "", "\x1b[33m", "", "\x1b[1;31m", "", "\x1b[0m", "").Replace(want)
				}
				if !strings.Contains(said, want) {
					t.Errorf("%q isn't in %q", want, said)
				}
				if strings.Contains(said, "\x1b[2J") || !tc.coloured && strings.Contains(said, "\x1b") {
					t.Errorf("escape sequences in %q", said)
				}
			}
		})
	}
}

// TestNoColoursInAPipe: what isn't a terminal gets none, whatever TERM says.
func TestNoColoursInAPipe(t *testing.T) {
	b := newBench(t).withDaemon()
	b.environ = append(b.environ, "TERM=xterm", "CLICOLOR_FORCE=1")
	for _, args := range [][]string{{"status"}, {"show", "nonesuch"}, {"lock"}} {
		if r := b.run(args...); strings.Contains(r.out+r.errors, "\x1b") {
			t.Errorf("%q prints %q", args, r.out+r.errors)
		}
	}
	var w bytes.Buffer
	tell(&page{coloured: true}, &w, "%s %s", painted{"a\x1bb", good}, "c\x1bd")
	if want := "\x1b[32ma?b\x1b[0m c?d"; w.String() != want {
		t.Errorf("%q, want %q", w.String(), want)
	}
}

func TestDoctorsResultsAreColoured(t *testing.T) {
	var w bytes.Buffer
	p := &page{coloured: true}
	printChecks(p, []checkup.Check{checkup.Fine("a", "x"), checkup.Warning("b", "", "x"), checkup.Failure("c", "", "x")})
	if err := p.sendTo(&w); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\x1b[32mok  \x1b[0m  a", "\x1b[33mwarn\x1b[0m  b", "\x1b[1;31mfail\x1b[0m  c"} {
		if !strings.Contains(w.String(), want) {
			t.Errorf("%q isn't in %q", want, w.String())
		}
	}
}

func TestOnlyUnlockedIsGreen(t *testing.T) {
	for _, state := range []control.VaultState{control.VaultMissing, control.VaultLocked, control.VaultUnlocked, control.VaultDamaged, control.VaultRevoked, "new"} {
		if p := paintState(state, "x"); (p.colour == good) != (state == control.VaultUnlocked) {
			t.Errorf("%s is %q", state, p.colour)
		}
	}
}
