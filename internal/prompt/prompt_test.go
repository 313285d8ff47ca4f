package prompt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/internal/prompt"
)

// script makes an executable shell script.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ask")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// askpass makes a prompter that asks through a script.
func askpass(t *testing.T, body string, env ...string) *prompt.Prompter {
	t.Helper()
	return prompt.New(append(env, "PATH=/usr/bin:/bin", "SSH_ASKPASS="+script(t, body), "SSH_ASKPASS_REQUIRE=force"))
}

func TestConfirmByAskpass(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       error
	}{
		{"exit 0 is yes", "exit 0", nil},
		{"yes", "echo yes", nil},
		{"YES", "printf YES", nil},
		{"an empty line", "echo", nil},
		{"no", "echo no", prompt.ErrDeclined},
		{"anything else", "echo sure", prompt.ErrDeclined},
		{"a long answer", "printf 'yes%02000d' 0", prompt.ErrDeclined},
		{"exit 1 is no", "exit 1", prompt.ErrDeclined},
		{"yes and exit 1", "echo yes; exit 1", prompt.ErrDeclined},
		{"killed", "kill -9 $$", prompt.ErrDeclined},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := askpass(t, tc.body).Confirm(t.Context(), "title", "text", 0); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// The program sees the environment it is given, the kind of prompt, and one
// argument from which nothing can jump out of its line.
func TestWhatAskpassSees(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("NOT_FOR_PROMPTS", "x")
	p := askpass(t, `{ printf '%s|' "$#" "$1" "$SSH_ASKPASS_PROMPT" "$MARK" "$NOT_FOR_PROMPTS" "$(pwd)"; } >`+out+`; echo secret`,
		"MARK=given", "SSH_ASKPASS_PROMPT=none")
	seen := func() string {
		data, _ := os.ReadFile(out)
		return string(data)
	}
	_, _ = p.Confirm(t.Context(), "Vigil", "Use the key?\x1b[2J\nhost \u202eevil\x00\xff", 0)
	if want := "1|Vigil\n\nUse the key??[2J\nhost ?evil??|confirm|given||/|"; seen() != want {
		t.Errorf("confirm:\n%q, want\n%q", seen(), want)
	}
	if _, err := prompt.Once(t.Context(), p, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if want := "1|Passphrase:||given||/|"; seen() != want {
		t.Errorf("passphrase:\n%q, want\n%q", seen(), want)
	}
	_, _ = p.Confirm(t.Context(), "", strings.Repeat("é", 100_000), 0)
	if n := len(seen()); n > prompt.MaxText+100 {
		t.Errorf("shown %d bytes", n)
	}
}

// TestAPassphraseThatOthersRead comes as the program wrote it, and counts if it ended well.
func TestAPassphraseThatOthersRead(t *testing.T) {
	gone := errors.New("client is gone")
	for name, tt := range map[string]struct {
		p    *prompt.Prompter
		want error
	}{
		"answered":               {askpass(t, `[ -z "$SSH_ASKPASS_PROMPT" ] && echo "of $1"`, "SSH_ASKPASS_PROMPT=confirm"), nil},
		"cancelled after typing": {askpass(t, `echo "of $1"; exit 255`), prompt.ErrDeclined},
		"ended":                  {askpass(t, `echo "of $1"; exec sleep 600`), gone},
		"nobody to ask":          {prompt.New(nil), prompt.ErrUnavailable},
		"no program":             {prompt.New([]string{"SSH_ASKPASS=/nonexistent", "SSH_ASKPASS_REQUIRE=force"}), prompt.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			asked := make(chan error, 1)
			go func() {
				asked <- tt.p.PassphraseInto(ctx, "", "the key", w)
				w.Close()
			}()
			line, err := bufio.NewReader(r).ReadString('\n')
			if errors.Is(tt.want, prompt.ErrUnavailable) {
				if !errors.Is(err, io.EOF) {
					t.Errorf("nobody answered %q, %v", line, err)
				}
			} else if err != nil || line != "of the key\n" {
				t.Errorf("got %q, %v", line, err)
			}
			if errors.Is(tt.want, gone) {
				cancel(gone)
			}
			if err := <-asked; !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestPassphraseByAskpass(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       string
		err        error
	}{
		{"a line", "echo 'correct horse'", "correct horse", nil},
		{"without end", "printf 'correct horse'", "correct horse", nil},
		{"CR LF", `printf 'a\r\n'`, "a", nil},
		{"only the first line", `printf 'a\nb\n'`, "a", nil},
		{"empty", "echo", "", nil},
		{"in pieces", "printf ab; printf cd; echo ef", "abcdef", nil},
		{"as long as the buffer", "printf %020d 0", strings.Repeat("0", 20), nil},
		{"longer", "printf %021d 0", "", prompt.ErrTooLong},
		{"far longer", "printf %0200000d 0", "", prompt.ErrTooLong},
		{"cancelled", "exit 1", "", prompt.ErrDeclined},
		{"cancelled after typing", "echo secret; exit 255", "", prompt.ErrDeclined},
	} {
		t.Run(tc.name, func(t *testing.T) {
			buf := []byte(strings.Repeat("#", 20))
			got, err := prompt.Once(t.Context(), askpass(t, tc.body), buf)
			if !errors.Is(err, tc.err) || got != tc.want {
				t.Errorf("got %q, %v, want %q, %v", got, err, tc.want, tc.err)
			}
			if strings.Trim(string(buf), "\x00") != "" {
				t.Errorf("left in the buffer: %q", buf)
			}
		})
	}
}

// The end of the context takes the prompt away, with all it has started.
func TestEndedContextKillsThePrompt(t *testing.T) {
	for _, kind := range []string{"confirm", "passphrase"} {
		t.Run(kind, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			// The child of the script holds the fifo open for as long as it lives.
			p := askpass(t, "(echo $$ >&3; exec sleep 1000) 3>"+fifo+" & wait")
			cause := errors.New("client is gone")
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() {
				if kind == "confirm" {
					_, err := p.Confirm(ctx, "t", "x", 0)
					done <- err
					return
				}
				_, err := prompt.Once(ctx, p, make([]byte, 10))
				done <- err
			}()
			f, err := os.Open(fifo) // waits for the child
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			buf := make([]byte, 100)
			if n, err := f.Read(buf); n == 0 {
				t.Fatal(err)
			}
			cancel(cause)
			if err := <-done; !errors.Is(err, cause) {
				t.Errorf("got %v", err)
			}
			f.SetReadDeadline(time.Now().Add(10 * time.Second))
			for { // the end of the file is the end of the child
				if _, err := f.Read(buf); err != nil {
					if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the script's child lives on")
					}
					break
				}
			}
		})
	}
}

// Whether there is a way to ask, and which, as ssh(1) decides; the reason says
// what to do.
func TestWays(t *testing.T) {
	ask := script(t, "exit 0")
	plain := filepath.Join(t.TempDir(), "plain")
	os.WriteFile(plain, nil, 0o600)
	for _, tc := range []struct {
		name    string
		env     string
		program string
		reason  string
	}{
		{"forced", "SSH_ASKPASS=" + ask + " SSH_ASKPASS_REQUIRE=force", ask, ""},
		{"on X", "SSH_ASKPASS=" + ask + " DISPLAY=:0", ask, ""},
		{"on Wayland", "SSH_ASKPASS=" + ask + " WAYLAND_DISPLAY=wayland-0", ask, ""},
		{"preferred, on X", "SSH_ASKPASS=" + ask + " DISPLAY=:0 SSH_ASKPASS_REQUIRE=prefer", ask, ""},
		{"preferred, without", "SSH_ASKPASS=" + ask + " SSH_ASKPASS_REQUIRE=prefer", "", "DISPLAY"},
		{"without", "SSH_ASKPASS=" + ask, "", "DISPLAY"},
		{"nothing set", "HOME=/", "", "DISPLAY"},
		{"empty display", "SSH_ASKPASS=" + ask + " DISPLAY=", "", "DISPLAY"},
		{"never", "SSH_ASKPASS=" + ask + " DISPLAY=:0 SSH_ASKPASS_REQUIRE=never", "", "never"},
		{"NEVER", "SSH_ASKPASS=" + ask + " DISPLAY=:0 SSH_ASKPASS_REQUIRE=NEVER", "", "never"},
		{"relative", "SSH_ASKPASS=ask DISPLAY=:0", "", "absolute"},
		{"missing", "SSH_ASKPASS=/nowhere/ask DISPLAY=:0", "", "/nowhere/ask"},
		{"not executable", "SSH_ASKPASS=" + plain + " DISPLAY=:0", "", "executable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := prompt.New(strings.Fields(tc.env))
			err := p.Available()
			if p.Program() != tc.program {
				t.Errorf("asks through %q, want %q", p.Program(), tc.program)
			}
			if tc.program != "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), tc.reason) {
				t.Errorf("got %v, want %s", err, tc.reason)
			}
			if _, got := p.Confirm(t.Context(), "", "x", 0); !errors.Is(got, prompt.ErrUnavailable) {
				t.Errorf("Confirm: %v", got)
			}
		})
	}
}
