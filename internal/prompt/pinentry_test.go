package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pinentry makes a prompter that asks through a script, which gets every
// command on its standard input and notes them in the file log.
func pinentry(t *testing.T, body string, env ...string) (p *Prompter, log string) {
	t.Helper()
	dir := t.TempDir()
	path, log := filepath.Join(dir, "pinentry"), filepath.Join(dir, "log")
	text := "#!/bin/sh\nlog=" + log + "\n" + body
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Prompter{env: append(env, "PATH=/usr/bin:/bin"), pinentry: path}, log
}

// answering answers OK to all but the command that asks.
func answering(answer string) string {
	return `echo 'OK Pleased to meet you'
while IFS= read -r line; do
  echo "$line" >>$log
  case $line in
  GETPIN|CONFIRM) ` + answer + ` ;;
  'OPTION lc-ctype'*) echo 'ERR 83886254 Unknown option <Pinentry>' ;;
  *) echo OK ;;
  esac
done`
}

func TestConfirmByPinentry(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       error
	}{
		{"yes", answering("echo OK"), nil},
		{"yes after a comment and a status", answering(`printf '# hm\nS BUTTON_INFO close\nOK\n'`), nil},
		{"cancelled", answering("echo ERR 83886179 Operation cancelled '<Pinentry>'"), ErrDeclined},
		{"not confirmed", answering("echo ERR 83886194 Not confirmed '<Pinentry>'"), ErrDeclined},
		{"timed out", answering("echo ERR 83886142 Timeout '<Pinentry>'"), ErrDeclined},
		{"no terminal", answering("echo ERR 83918950 Inappropriate ioctl for device '<Pinentry>'"), ErrUnavailable},
		{"an error without number", answering("echo ERR"), ErrUnavailable},
		{"asks back", answering("echo INQUIRE WHAT"), nil},
		{"ends at once", "exit 2", ErrUnavailable},
		{"ends instead of answering", answering("exit 0"), ErrUnavailable},
		{"says no hello", "echo ERR 1 busy; cat >/dev/null", ErrUnavailable},
		{"an endless line", "head -c 100000 /dev/zero | tr '\\0' x; cat >/dev/null", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _ := pinentry(t, tc.body, "LANG=C")
			_, err := p.Confirm(t.Context(), "title", "text", 0)
			if strings.HasPrefix(tc.name, "yes") {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// Of a pinentry that may not show the third button, what isn't OK permits nothing.
func TestPinentryForLonger(t *testing.T) {
	const unconfirmed = `echo ERR 83886194 Not confirmed`
	for _, tc := range []struct {
		name, flavor, answer string
		longer               bool
		want                 error
	}{
		{"OK of three", "printf 'D gtk2\\nOK\\n'", "echo OK", false, nil},
		{"the third of three", "printf 'D gtk2:curses\\nOK\\n'", unconfirmed, true, nil},
		{"cancel of three", "printf 'D gtk2\\nOK\\n'", "echo ERR 83886179 Operation cancelled", false, ErrDeclined},
		{"OK of two", "printf 'D gnome3\\nOK\\n'", "echo OK", true, nil},
		{"not OK of two", "printf 'D gnome3\\nOK\\n'", unconfirmed, false, ErrDeclined},
		{"not OK of a pinentry that doesn't say", "echo ERR 83886355 Unknown command", unconfirmed, false, ErrDeclined},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, log := pinentry(t, `echo OK hello; while read -r l; do echo "$l" >>$log; case "$l" in "GETINFO flavor") `+tc.flavor+`;; CONFIRM) `+tc.answer+`;; *) echo OK;; esac; done`)
			longer, err := p.Confirm(t.Context(), "title", "text", 10*time.Minute)
			if longer != tc.longer || !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Errorf("got %v, %v", longer, err)
			}
			// Whatever is cut off of a text, a button says for how long.
			if said, _ := os.ReadFile(log); !strings.Contains(string(said), "Allow for 10 minutes\n") {
				t.Errorf("it doesn't say for how long:\n%s", said)
			}
		})
	}
}

func TestWhatPinentrySees(t *testing.T) {
	p, log := pinentry(t, answering("echo OK"), "GPG_TTY=/dev/pts/7", "TERM=xterm", "LANG=C", "LC_MESSAGES=de_DE")
	if _, err := p.Confirm(t.Context(), "Vigil", "Use the key?\n100%\rOK", 0); err != nil {
		t.Fatal(err)
	}
	seen, _ := os.ReadFile(log)
	want := `OPTION ttyname=/dev/pts/7
OPTION ttytype=xterm
OPTION lc-ctype=C
OPTION lc-messages=de_DE
SETTITLE Vigil
SETDESC Use the key?%0A100%25?OK
SETOK Allow
SETCANCEL Deny
CONFIRM
`
	if string(seen) != want {
		t.Errorf("got\n%s\nwant\n%s", seen, want)
	}
	if _, err := p.Confirm(t.Context(), "", strings.Repeat("é%", 10_000), 0); err != nil {
		t.Fatal(err)
	}
	seen, _ = os.ReadFile(log)
	for line := range bytes.Lines(seen) {
		if len(line) > maxLine-1 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// Once asks for a passphrase, which is right.
func Once(ctx context.Context, p *Prompter, buf []byte) (got string, err error) {
	m := Memory{Answer: buf, Line: make([]byte, MaxLine)}
	err = p.Passphrase(ctx, "", "Passphrase:", m, func(b []byte) (string, error) {
		got = string(b)
		return "", nil
	})
	if len(bytes.Trim(m.Line, "\x00")) > 0 {
		err = errors.Join(err, fmt.Errorf("left in the line: %q", m.Line))
	}
	return got, err
}

// A wrong passphrase is asked for again, with what is wrong: by one pinentry, or by askpass
// once more.
func TestAskAgain(t *testing.T) {
	inPinentry, commands := pinentry(t, answering(`n=$((n+1)); echo "D try $n"; echo OK`))
	dir := t.TempDir()
	texts := filepath.Join(dir, "texts")
	askpass := filepath.Join(dir, "askpass")
	script := "#!/bin/sh\necho \"$1\" >>" + texts + "\necho try $(grep -c Open " + texts + ")\n"
	if err := os.WriteFile(askpass, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		p         *Prompter
		log, want string
	}{
		"pinentry": {inPinentry, commands, "SETDESC Open it\nSETPROMPT Passphrase:\nGETPIN\nSETERROR wrong, try ?2\nGETPIN\nSETERROR wrong, try ?3\nGETPIN\n"},
		"askpass": {
			&Prompter{env: []string{"PATH=/usr/bin:/bin"}, askpass: askpass}, texts,
			"Open it\nwrong, try ?2\n\nOpen it\nwrong, try ?3\n\nOpen it\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := Memory{make([]byte, MaxPassphrase), make([]byte, MaxLine)}
			var tries []string
			err := tt.p.Passphrase(t.Context(), "", "Open it", m, func(b []byte) (string, error) {
				if tries = append(tries, string(b)); len(tries) == 3 {
					return "", nil
				}
				return fmt.Sprintf("wrong, try \r%d", len(tries)+1), nil
			})
			if err != nil || strings.Join(tries, ", ") != "try 1, try 2, try 3" {
				t.Errorf("got %q, %v", tries, err)
			}
			if log, _ := os.ReadFile(tt.log); string(log) != tt.want {
				t.Errorf("it saw\n%s\nwant\n%s", log, tt.want)
			}
			if len(bytes.Trim(append(m.Answer, m.Line...), "\x00")) > 0 {
				t.Error("the memory isn't wiped")
			}
		})
	}
}

func TestPassphraseByPinentry(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		want         string
		err          error
	}{
		{"one line", `echo 'D correct horse'; echo OK`, "correct horse", nil},
		{"escapes", `echo 'D 100%25%0a%0D%zz%'; echo OK`, "100%\n\r%zz%", nil},
		{"two lines", `echo 'D abc'; echo 'D def'; echo OK`, "abcdef", nil},
		{"a status before", `echo 'S PASSWORD_FROM_CACHE'; echo 'D abc'; echo OK`, "abc", nil},
		{"empty", `echo OK`, "", nil},
		{"as long as the buffer", `printf 'D %020d\nOK\n' 0`, strings.Repeat("0", 20), nil},
		{"longer", `printf 'D %021d\nOK\n' 0`, "", ErrTooLong},
		{"cancelled", `echo ERR 83886179 cancelled`, "", ErrDeclined},
		{"cancelled after data", `echo 'D abc'; echo ERR 83886179 cancelled`, "", ErrDeclined},
		{"gone after data", `echo 'D abc'; exit 0`, "", ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, log := pinentry(t, answering(tc.answer))
			buf := []byte(strings.Repeat("#", 20))
			got, err := Once(t.Context(), p, buf)
			if !errors.Is(err, tc.err) || got != tc.want {
				t.Errorf("got %q, %v, want %q, %v", got, err, tc.want, tc.err)
			}
			if strings.Trim(string(buf), "\x00") != "" {
				t.Errorf("left in the buffer: %q", buf)
			}
			if seen, _ := os.ReadFile(log); !strings.Contains(string(seen), "SETPROMPT Passphrase:\nGETPIN\n") {
				t.Errorf("it saw %s", seen)
			}
		})
	}
}

func TestEndedContextKillsPinentry(t *testing.T) {
	p, log := pinentry(t, answering("sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := p.Confirm(ctx, "t", "x", 0)
		done <- err
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if seen, _ := os.ReadFile(log); strings.HasSuffix(string(seen), "CONFIRM\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it was never asked")
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFallBackToPinentry(t *testing.T) {
	old, oldAsk := pinentryPlaces, askpassPlaces
	t.Cleanup(func() { pinentryPlaces, askpassPlaces = old, oldAsk })
	p, _ := pinentry(t, "")
	pinentryPlaces, askpassPlaces = []string{"/nowhere/pinentry", p.pinentry}, nil
	for env, want := range map[string]string{
		"DISPLAY=:0":                           p.pinentry,
		"WAYLAND_DISPLAY=w":                    p.pinentry,
		"GPG_TTY=/dev/tty1":                    p.pinentry,
		"HOME=/":                               "",
		"DISPLAY= GPG_TTY=":                    "",
		"DISPLAY=:0 EXTRA=one":                 p.pinentry,
		"DISPLAY=:0 SSH_ASKPASS_REQUIRE=never": "",
	} {
		if got := New(strings.Fields(env)).Program(); got != want {
			t.Errorf("%s: %q, want %q", env, got, want)
		}
	}
}
