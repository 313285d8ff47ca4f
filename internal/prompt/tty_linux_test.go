package prompt

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a terminal with the test before it.
type screen struct {
	*testing.T
	master *os.File
	path   string
	device uint64
	shown  strings.Builder
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	master, path := terminal(t)
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		t.Fatal(err)
	}
	return &screen{T: t, master: master, path: path, device: uint64(info.Rdev)}
}

func (s *screen) open() *Terminal {
	s.Helper()
	term, err := OpenTerminal(s.path, s.device)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(term.Close)
	return term
}

// answers has someone wait for each text and type what follows it, and returns what waits
// until that is done.
func (s *screen) answers(dialogue ...string) (wait func()) {
	var typing sync.WaitGroup
	typing.Go(func() { s.answer(dialogue...) })
	return typing.Wait
}

func (s *screen) answer(dialogue ...string) {
	from, buf := 0, make([]byte, 4096)
	for i := 0; i+1 < len(dialogue); i += 2 {
		for !strings.Contains(s.shown.String()[from:], dialogue[i]) {
			n, err := s.master.Read(buf)
			if err != nil {
				s.Errorf("it never showed %q after %q: %v", dialogue[i], s.shown.String()[from:], err)
				return
			}
			s.shown.Write(buf[:n])
		}
		from = s.shown.Len()
		if _, err := s.master.WriteString(dialogue[i+1]); err != nil {
			s.Error(err)
		}
	}
}

func (s *screen) mode() unix.Termios {
	s.Helper()
	fd, err := unix.Open(s.path, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.Fatal(err)
	}
	defer unix.Close(fd)
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		s.Fatal(err)
	}
	return *mode
}

func memory() Memory {
	return Memory{Answer: make([]byte, MaxPassphrase), Line: make([]byte, MaxLine)}
}

func TestAPassphraseOnATerminal(t *testing.T) {
	s := newScreen(t)
	before := s.mode()
	term := s.open()
	wait := s.answers("Vigil: unlock?it\r\nfor ?[2Jhost\r\nPassphrase: ", "wr\x1b[Aong\r", "Wrong. Try 2 of 3.\r\nPassphrase: ", "right\x00 one\r")
	m := memory()
	var got []string
	err := term.Passphrase(t.Context(), "Vigil", "unlock\rit\nfor \x1b[2Jhost", m, func(b []byte) (string, error) {
		if got = append(got, string(b)); len(got) == 1 {
			return "Wrong. Try 2 of 3.", nil
		}
		return "", nil
	})
	wait()
	if err != nil || strings.Join(got, "|") != "wrong|right one" {
		t.Errorf("got %q, %v", got, err)
	}
	if s.mode() != before {
		t.Error("the terminal isn't as it was")
	}
	if strings.Contains(s.shown.String(), "right") {
		t.Errorf("it shows what was typed: %q", s.shown.String())
	}
	for _, b := range append(m.Answer, m.Line...) {
		if b != 0 {
			t.Fatal("what was typed is still in memory")
		}
	}
}

func TestNoPassphraseOnATerminal(t *testing.T) {
	closed := errors.New("closed")
	for name, tt := range map[string]struct {
		keys string
		want error
	}{
		"empty": {"\r", ErrDeclined}, "Ctrl-C": {"half\x03", ErrDeclined}, "Ctrl-D": {"\x04", ErrDeclined},
		"too long": {strings.Repeat("x", MaxPassphrase), ErrTooLong},
		"closed":   {"half", closed}, "the terminal's end": {"", ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen(t)
			before, term := s.mode(), s.open()
			ctx, end := context.WithCancelCause(t.Context())
			defer end(nil)
			go func() {
				s.answer("Passphrase: ", tt.keys)
				switch name {
				case "closed":
					end(closed)
				case "the terminal's end":
					s.master.Close()
				}
			}()
			err := term.Passphrase(ctx, "Vigil", "?", memory(), func([]byte) (string, error) { t.Error("used"); return "", nil })
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if name != "the terminal's end" && s.mode() != before {
				t.Error("the terminal isn't as it was")
			}
		})
	}
}

func TestConfirmForLongerOnATerminal(t *testing.T) {
	for keys, want := range map[string]struct {
		longer bool
		err    error
	}{"y\r": {false, nil}, "m\r": {true, nil}, "mm\r": {false, ErrDeclined}, "\r": {false, ErrDeclined}} {
		s := newScreen(t)
		term := s.open()
		wait := s.answers("Vigil: use it?\r\n[y: once, m: for 10 minutes, N] ", keys)
		longer, err := term.Confirm(t.Context(), "Vigil", "use it?", 10*time.Minute)
		if longer != want.longer || !errors.Is(err, want.err) || want.err == nil && err != nil {
			t.Errorf("%q: %v, %v", keys, longer, err)
		}
		wait()
	}
}

func TestConfirmOnATerminal(t *testing.T) {
	for keys, want := range map[string]error{"y\r": nil, "YES\r": nil, "n\r": ErrDeclined, "\r": ErrDeclined, "yellow\r": ErrDeclined, "\x03": ErrDeclined, strings.Repeat("y", 40): ErrDeclined} {
		s := newScreen(t)
		before, term := s.mode(), s.open()
		wait := s.answers("Vigil: use it?\r\n[y/N] ", keys)
		if _, err := term.Confirm(t.Context(), "Vigil", "use it?", 0); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%q: got %v, want %v", keys, err, want)
		}
		wait()
		if s.mode() != before {
			t.Error("the terminal isn't as it was")
		}
	}
}

// What was typed before a prompt doesn't answer it.
func TestTypedAheadIsNoAnswer(t *testing.T) {
	s := newScreen(t)
	term := s.open()
	if _, err := s.master.WriteString("ls -l\ny\n"); err != nil {
		t.Fatal(err)
	}
	wait := s.answers("Passphrase: ", "right\r")
	var got string
	err := term.Passphrase(t.Context(), "Vigil", "?", memory(), func(b []byte) (string, error) { got = string(b); return "", nil })
	wait()
	if err != nil || got != "right" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A terminal is restored for a prompt that was killed, and left alone if another program
// has taken it over.
func TestRestore(t *testing.T) {
	s := newScreen(t)
	before := s.mode()
	first, killed := s.open(), s.open()
	if !first.Free() {
		t.Error("a new terminal isn't free")
	}
	if err := killed.hide(); err != nil {
		t.Fatal(err)
	}
	if s.open().Free() {
		t.Error("a terminal with a prompt is free")
	}
	first.Restore()
	if s.mode() != before {
		t.Error("the terminal isn't as it was")
	}
	if err := killed.hide(); err != nil {
		t.Fatal(err)
	}
	shells := s.mode()
	shells.Lflag |= unix.ISIG
	if err := unix.IoctlSetTermios(killed.fd, unix.TCSETS, &shells); err != nil {
		t.Fatal(err)
	}
	first.Restore()
	if s.mode() != shells {
		t.Error("it was taken from another program")
	}
}

func TestWhatIsNotTheTerminal(t *testing.T) {
	s := newScreen(t)
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := file + "-link"
	if err := os.Symlink(s.path, link); err != nil {
		t.Fatal(err)
	}
	for path, device := range map[string]uint64{s.path: s.device + 1, file: s.device, link: s.device, "/dev/null": unix.Mkdev(1, 3), "/dev/pts/none": s.device} {
		if term, err := OpenTerminal(path, device); err == nil {
			term.Close()
			t.Errorf("%s was opened as %x", path, device)
		}
	}
}
