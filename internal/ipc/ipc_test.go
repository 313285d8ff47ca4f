package ipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"vigil/internal/id"
	"vigil/internal/wire"
)

const limit = 1 << 20

func TestMessages(t *testing.T) {
	for name, parts := range map[string][][]byte{
		"empty":            nil,
		"of an empty part": {{}},
		"one part":         {[]byte("one")},
		"parts":            {[]byte("a"), nil, []byte("b"), make([]byte, 300<<10)},
		"of the limit":     {make([]byte, limit)},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Write(&b, limit, parts...); err != nil {
				t.Fatal(err)
			}
			got, err := Read(iotest.HalfReader(&b), limit)
			if err != nil || !bytes.Equal(got, bytes.Join(parts, nil)) || b.Len() > 0 {
				t.Errorf("read %d bytes back, %d left, %v", len(got), b.Len(), err)
			}
		})
	}
}

func TestMessagesThatAreRefused(t *testing.T) {
	message := func(n uint32, body string) []byte { return append(binary.BigEndian.AppendUint32(nil, n), body...) }
	for _, tt := range []struct {
		name string
		sent []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"half a length", []byte{0, 0}, io.ErrUnexpectedEOF},
		{"only a length", message(3, ""), io.ErrUnexpectedEOF},
		{"cut", message(100, "short"), io.ErrUnexpectedEOF},
		{"one byte too long", message(limit+1, "x"), ErrTooLong},
		{"the largest length there is", message(1<<32-1, "x"), ErrTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if b, err := Read(bytes.NewReader(tt.sent), limit); err == nil || !errors.Is(err, tt.want) || b != nil {
				t.Errorf("got %q, %v, want %v", b, err, tt.want)
			}
		})
	}
	var b bytes.Buffer
	if err := Write(&b, 3, []byte("ab"), []byte("cd")); !errors.Is(err, ErrTooLong) || b.Len() > 0 {
		t.Errorf("wrote %q, %v", b.Bytes(), err)
	}
}

// TestAnAnnouncedLengthTakesNoMemory: it is allocated as bytes arrive.
func TestAnAnnouncedLengthTakesNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := Read(bytes.NewReader([]byte{0x30, 0, 0, 0, '{'}), 1<<30); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("got %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) / 100; took > 1<<20 {
		t.Fatalf("%d bytes for a message of which one byte came", took)
	}
}

// meet runs both ends of a conversation and returns their errors.
func meet(t *testing.T, one, other func(rw io.ReadWriter) error) (oneErr, otherErr error) {
	t.Helper()
	a, b, err := ChildPair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer b.Close()
		done <- other(b)
	}()
	oneErr = one(a)
	_ = a.Close()
	return oneErr, <-done
}

func TestHellos(t *testing.T) {
	vault := id.Vault{1, 2, 3}
	greet := func(ours, theirs Role, vault id.Vault) func(io.ReadWriter) error {
		return func(rw io.ReadWriter) error { return Greet(rw, ours, theirs, vault) }
	}
	answer := func(ours, theirs Role) func(io.ReadWriter) error {
		return func(rw io.ReadWriter) error {
			got, err := Answer(rw, ours, theirs)
			if err == nil && got != vault {
				t.Errorf("learned the vault %v", got)
			}
			return err
		}
	}
	say := func(build string, role Role, vault []byte) func(io.ReadWriter) error {
		return func(rw io.ReadWriter) error {
			b := wire.AppendString(nil, build)
			b = wire.AppendString(b, role)
			if err := Write(rw, limit, wire.AppendString(b, vault)); err != nil {
				return err
			}
			_, err := Read(rw, maxHello)
			return err
		}
	}
	for _, tt := range []struct {
		name                string
		one, other          func(io.ReadWriter) error
		wantOne, wantsOther error
	}{
		{"equals", greet(Opener, Keeper, vault), greet(Keeper, Opener, vault), nil, nil},
		{"one learns the vault", greet(Front, Keeper, vault), answer(Keeper, Front), nil, nil},
		{"other vaults", greet(Opener, Keeper, vault), greet(Keeper, Opener, id.Vault{}), ErrMismatch, ErrMismatch},
		{"another role", greet(Front, Opener, vault), answer(Keeper, Front), ErrMismatch, nil},
		{"another build", say("old", Front, vault[:]), answer(Opener, Front), nil, ErrMismatch},
		{"a vault cut short", say("old", Front, vault[:31]), answer(Opener, Front), nil, ErrMismatch},
		{"a hello too long", say("old", Front, make([]byte, 2*maxHello)), answer(Opener, Front), io.EOF, ErrTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			oneErr, otherErr := meet(t, tt.one, tt.other)
			if !errors.Is(oneErr, tt.wantOne) && !(tt.wantOne == io.EOF && oneErr != nil) || !errors.Is(otherErr, tt.wantsOther) {
				t.Errorf("got %v and %v", oneErr, otherErr)
			}
		})
	}
}

func start(t *testing.T, script string) *Child {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	c, err := Start(sh, []string{"sh", "-c", script}, []string{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAChildThatEnds(t *testing.T) {
	c := start(t, "exit 3")
	c.End(time.Minute)
	var status *exec.ExitError
	if !errors.As(c.Exit(), &status) || status.ExitCode() != 3 {
		t.Errorf("it ended with %v", c.Exit())
	}
}

func TestAChildThatDoesNotEndIsKilled(t *testing.T) {
	c := start(t, "exec sleep 600")
	c.End(time.Millisecond)
	select {
	case <-c.Done():
	default:
		t.Error("it runs on")
	}
}

func TestAPairClosesOnExec(t *testing.T) {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	c := start(t, "exec sleep 600")
	defer c.End(0)
	_ = theirs.Close()
	if _, err := Read(ours, limit); !errors.Is(err, io.EOF) {
		t.Errorf("a child that wasn't given the other end holds it: %v", err)
	}
}

// FuzzRead: what is read is exactly what was written.
func FuzzRead(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 2, 'o', 'k', 0, 0, 0, 1, '!'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Add(slices.Concat([]byte{0, 0, 0, 5}, wire.AppendString(nil, "x"), hello(Front, id.Vault{})))
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := bytes.NewReader(sent)
		var back bytes.Buffer
		for {
			b, err := Read(r, limit)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			if err := Write(&back, limit, b); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(back.Bytes(), sent) {
			t.Fatalf("% x was read as % x", sent, back.Bytes())
		}
	})
}

// FuzzHello: only this build's own hello is accepted.
func FuzzHello(f *testing.F) {
	f.Add(hello(Front, id.Vault{1}))
	f.Add(hello(Keeper, id.Vault{}))
	f.Fuzz(func(t *testing.T, sent []byte) {
		var b bytes.Buffer
		if Write(&b, maxHello, sent) != nil {
			return
		}
		vault, err := Answer(&conversation{in: &b}, Keeper, Front)
		if (err == nil) != bytes.Equal(sent, hello(Front, vault)) {
			t.Fatalf("% x: vault %v, %v", sent, vault, err)
		}
	})
}

// conversation reads from in and discards what is written.
type conversation struct{ in io.Reader }

func (c *conversation) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *conversation) Write(b []byte) (int, error) { return len(b), nil }
