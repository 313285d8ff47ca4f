package unixsock

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

func streamPair(t *testing.T) (a, b *Stream) {
	t.Helper()
	x, y, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Stream
	for i, fd := range []int{x, y} {
		c, err := Conn(fd)
		if err != nil {
			t.Fatal(err)
		}
		if ends[i], err = NewStream(c); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	return ends[0], ends[1]
}

func TestStreamCarriesMoreThanTheSocketHolds(t *testing.T) {
	a, b := streamPair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	wrote := make(chan error, 1)
	go func() {
		n, err := a.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		wrote <- errors.Join(err, a.CloseWrite())
	}()
	got, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatalf("read %d bytes other than the %d written", len(got), len(sent))
	}
}

func TestStreamDoesAtOnceWhatItCan(t *testing.T) {
	a, b := streamPair(t)
	buf := make([]byte, 8)
	if n, err := b.ReadReady(buf); n != 0 || err != nil {
		t.Fatalf("read %d bytes of none: %v", n, err)
	}
	if n, err := a.WriteReady([]byte("abc")); n != 3 || err != nil {
		t.Fatalf("wrote %d bytes of 3: %v", n, err)
	}
	if n, err := b.ReadReady(buf); n != 3 || err != nil || string(buf[:n]) != "abc" {
		t.Fatalf("read %q: %v", buf[:n], err)
	}
	// Until the socket is full.
	large := make([]byte, 4<<20)
	n, err := a.WriteReady(large)
	if n == 0 || n == len(large) || err != nil {
		t.Fatalf("wrote %d bytes of %d: %v", n, len(large), err)
	}
	if n, err := a.WriteReady(large); n != 0 || err != nil {
		t.Fatalf("wrote %d bytes into a full socket: %v", n, err)
	}
	if _, err := io.ReadFull(b, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

func TestStreamHeedsDeadlinesAndEnds(t *testing.T) {
	a, b := streamPair(t)
	if err := b.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read past its deadline: %v", err)
	}
	if err := b.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	much := make([]byte, 4<<20) // more than the socket holds
	if n, err := a.WriteReady(much); err != nil || n == 0 || n == len(much) {
		t.Fatalf("wrote %d bytes at once: %v", n, err)
	}
	if err := a.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(much); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("wrote past the deadline: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) && err == nil {
		t.Fatal("a closed stream can be read")
	}
	if _, err := io.Copy(io.Discard, b); err != nil {
		t.Fatalf("the other end after a close: %v", err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("write to nobody: %v", err)
	}
}
