package ask

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/ipc"
	"vigil/internal/unixsock"
)

// conversation starts the front's side, and returns the asker's and how the front's ended.
func conversation(t *testing.T, patience time.Duration, use func(*os.File) error) (asker *os.File, ended <-chan error) {
	t.Helper()
	front, theirs, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close(); theirs.Close() })
	got := make(chan error, 1)
	go func() { got <- converse(t.Context(), front, os.Getpid(), Question{Text: "?"}, patience, use) }()
	return theirs, got
}

func TestWhatAskersSay(t *testing.T) {
	frame := func(body string) string { return fmt.Sprintf("\x00\x00\x00%c%s", len(body), body) }
	for name, tt := range map[string]struct {
		says string
		want error
		why  string
	}{
		"declined":              {frame(`{"declined":true}`), ErrDeclined, ""},
		"nobody":                {frame(`{"reason":"no way to ask: none"}`), ErrUnavailable, "nobody can be asked: none"},
		"nothing":               {frame(`{}`), ErrUnavailable, ""},
		"its end":               {"", ErrUnavailable, "the asker"},
		"no JSON":               {frame(`{"declined":`), ErrUnavailable, "read the asker's answer"},
		"a passphrase, no pipe": {frame(`{"typed":true}`), ErrUnavailable, "read the asker's answer"},
		"too much":              {"\xff\xff\xff\xff", ErrUnavailable, "message is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			asker, ended := conversation(t, time.Minute, func(*os.File) error { t.Error("used"); return nil })
			if _, err := asker.WriteString(tt.says); err != nil {
				t.Fatal(err)
			}
			if tt.says == "" {
				asker.Close()
			}
			if err := <-ended; !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("got %v, want %v: %s", err, tt.want, tt.why)
			}
		})
	}
}

func TestAPassphraseIsTriedThrice(t *testing.T) {
	for _, right := range []int{1, 2, 3, 4} {
		front, theirs, err := ipc.Pair()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Dup(int(theirs.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		conn, err := unixsock.Conn(fd)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		ended := make(chan error, 1)
		go func() {
			ended <- converse(t.Context(), front, os.Getpid(), Question{Text: "?"}, time.Minute, func(pipe *os.File) error {
				text, err := io.ReadAll(pipe)
				if got = append(got, string(text)); err != nil || len(got) < right {
					return fmt.Errorf("%w: %v", ErrWrong, err)
				}
				return nil
			})
			front.Close()
		}()
		if q, err := ReadQuestion(conn); err != nil || q.Text != "?" {
			t.Fatalf("asked %+v, %v", q, err)
		}
		told := []string{}
		for try := 1; ; try++ {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(w, "try %d", try)
			w.Close()
			if err := Send(conn, &Answer{Typed: true}, r); err != nil {
				t.Fatal(err)
			}
			r.Close()
			v, err := ReadVerdict(conn)
			if err != nil {
				break
			}
			told = append(told, v.Wrong)
		}
		err = <-ended
		if want := []string{"try 1", "try 2", "try 3"}[:min(right, 3)]; fmt.Sprint(got) != fmt.Sprint(want) || (err == nil) != (right <= 3) {
			t.Errorf("right at %d: got %q, %v", right, got, err)
		}
		if want := []string{"Wrong passphrase. Try 2 of 3.", "Wrong passphrase. Try 3 of 3."}[:min(right, 3)-1]; fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("right at %d: it was told %q", right, told)
		}
		conn.Close()
	}
}

func TestNobodyAnswersInTime(t *testing.T) {
	_, ended := conversation(t, time.Millisecond, nil)
	if err := <-ended; !errors.Is(err, ErrUnanswered) || !strings.HasSuffix(err.Error(), "within 1ms") {
		t.Errorf("got %v", err)
	}
}

// A program that somebody else can replace isn't started, nor one that isn't there.
func TestUnsafeAskers(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "vigilctl")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"others can write": func() error { return os.Chmod(program, 0o722) },
		"missing":          func() error { return os.Remove(program) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		err := Hold(program).Passphrase(t.Context(), &Place{}, Question{}, time.Minute, nil)
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.WriteFile(program, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// A passphrase that isn't there yet would hold up whoever else wants to unlock the vault.
func TestAPassphraseIsCompleteWhenItComes(t *testing.T) {
	for name, open := range map[string]func() (file, writer *os.File, err error){
		"silent":  os.Pipe,
		"partial": func() (r, w *os.File, err error) { r, w, err = os.Pipe(); fmt.Fprint(w, "correct"); return r, w, err },
		"a file":  func() (r, w *os.File, err error) { r, err = os.CreateTemp(t.TempDir(), ""); return r, r, err },
	} {
		t.Run(name, func(t *testing.T) {
			asker, ended := conversation(t, time.Minute, func(*os.File) error { t.Error("used"); return nil })
			fd, err := unix.Dup(int(asker.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			conn, err := unixsock.Conn(fd)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			file, writer, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer writer.Close()
			defer file.Close()
			if err := Send(conn, &Answer{Typed: true}, file); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no complete one") {
				t.Errorf("got %v", err)
			}
		})
	}
}
