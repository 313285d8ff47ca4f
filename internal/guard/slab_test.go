package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// eachKind runs a test with each kind of memory.
func eachKind(t *testing.T, test func(*testing.T, Kind)) {
	for _, k := range []Kind{SecretMemory, LockedMemory} {
		t.Run(string(k), func(t *testing.T) { test(t, k) })
	}
}

func newSlab(t testing.TB, size int) *Slab { return SecretMemory.newSlab(t, size) }

func (k Kind) newSlab(t testing.TB, size int) *Slab {
	t.Helper()
	s, err := k.NewSlab(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestBuffersAreZeroAlignedAndApart(t *testing.T) { eachKind(t, buffersAreZeroAlignedAndApart) }

func buffersAreZeroAlignedAndApart(t *testing.T, k Kind) {
	s := k.newSlab(t, 64<<10)
	first, err := s.Alloc(1)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	live := map[*Buffer]byte{}
	for i := range 20_000 {
		if len(live) > 100 || r.IntN(3) == 0 {
			for b, v := range live {
				if !bytes.Equal(b.Bytes(), bytes.Repeat([]byte{v}, b.Len())) {
					t.Fatalf("step %d: a buffer was overwritten", i)
				}
				b.Free()
				delete(live, b)
				break
			}
			continue
		}
		n := 1 + r.IntN(1000)
		b, err := s.Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		mem := b.Bytes()
		if len(mem) != n || cap(mem) != n || b.Len() != n {
			t.Fatalf("asked for %d, got %d of %d", n, len(mem), cap(mem))
		}
		if !bytes.Equal(mem, make([]byte, n)) {
			t.Fatalf("step %d: not zero", i)
		}
		v := byte(1 + r.IntN(255))
		for j := range mem {
			mem[j] = v
		}
		live[b] = v
	}
	for b := range live {
		b.Free()
	}
	if u := s.Usage(); u.Used != granule {
		t.Fatalf("%d bytes are in use, want %d", u.Used, granule)
	}
	// All of the rest is one free run again.
	rest := len(s.segs[0].mem)/granule - 1
	if at, ok := s.segs[0].take(rest); !ok {
		t.Fatal("freed memory did not join")
	} else {
		s.segs[0].give(at, rest)
	}
	first.Free()
	if u := s.Usage(); u.Mapped != 0 {
		t.Fatalf("%d bytes are mapped without need", u.Mapped)
	}
}

func TestFreeWipesAndIsFinal(t *testing.T) { eachKind(t, freeWipesAndIsFinal) }

func freeWipesAndIsFinal(t *testing.T, k Kind) {
	s := k.newSlab(t, 4096)
	b, err := s.Alloc(100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Alloc(1); err != nil { // so that the memory stays mapped
		t.Fatal(err)
	}
	mem := b.Bytes()
	copy(mem, bytes.Repeat([]byte{7}, 100))
	b.Free()
	b.Free()
	(*Buffer)(nil).Free()
	if !bytes.Equal(mem, make([]byte, 100)) {
		t.Fatal("not wiped")
	}
	if b.Bytes() != nil || b.Len() != 0 {
		t.Fatal("usable after Free")
	}
}

func TestSlabGrowsAndKeepsWhatItHas(t *testing.T) { eachKind(t, slabGrowsAndKeepsWhatItHas) }

func slabGrowsAndKeepsWhatItHas(t *testing.T, k Kind) {
	s := k.newSlab(t, 4096)
	var all []*Buffer
	for i := range 1000 {
		b, err := s.Alloc(100)
		if err != nil {
			t.Fatal(err)
		}
		b.Bytes()[0] = byte(i)
		all = append(all, b)
	}
	for i, b := range all {
		if b.Bytes()[0] != byte(i) {
			t.Fatal("growth moved a buffer")
		}
	}
	big, err := s.Alloc(300 << 10)
	if err != nil || big.Len() != 300<<10 {
		t.Fatal("a buffer larger than a segment", err)
	}
}

func TestClosedSlab(t *testing.T) { eachKind(t, closedSlab) }

func closedSlab(t *testing.T, k Kind) {
	s, err := k.NewSlab(4096)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Alloc(10)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if b.Bytes() != nil {
		t.Fatal("bytes after Close")
	}
	b.Free()
	if _, err := s.Alloc(1); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestBufferLargerThanAnySecretIsRefused(t *testing.T) {
	s := newSlab(t, 4096)
	if _, err := s.Alloc(largestBuffer + 1); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
}

func TestSizesThatAreNone(t *testing.T) {
	s := newSlab(t, 4096)
	for _, n := range []int{0, -1} {
		if _, err := s.Alloc(n); err == nil {
			t.Fatalf("Alloc(%d)", n)
		}
		if _, err := NewSlab(n); err == nil {
			t.Fatalf("NewSlab(%d)", n)
		}
	}
}

func TestConcurrentUse(t *testing.T) { eachKind(t, concurrentUse) }

func concurrentUse(t *testing.T, k Kind) {
	s := k.newSlab(t, 4096)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				b, err := s.Alloc(200)
				if err != nil {
					t.Error(err)
					return
				}
				mem := b.Bytes()
				for i := range mem {
					if mem[i] != 0 {
						t.Error("shared with another")
						return
					}
					mem[i] = 1
				}
				b.Free()
			}
		})
	}
	wg.Wait()
}

func TestBufferPrintsRedacted(t *testing.T) {
	s := newSlab(t, 4096)
	b, err := s.Alloc(6)
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), "secret")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T|%[1]v"} {
		out := fmt.Sprintf(verb, b)
		if verb != "%T|%[1]v" && verb != "%p" && out != redacted {
			t.Errorf("%s prints %q", verb, out)
		}
		if bytes.Contains([]byte(out), []byte("secret")) || bytes.Contains([]byte(out), []byte("115 101")) {
			t.Errorf("%s prints the secret: %q", verb, out)
		}
	}
	in := struct {
		Open   *Buffer
		hidden *Buffer
	}{b, b}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
		out := fmt.Sprintf(verb, in)
		if bytes.Contains([]byte(out), []byte("secret")) || bytes.Contains([]byte(out), []byte("115 101")) ||
			bytes.Contains([]byte(out), []byte("736563")) || bytes.Contains([]byte(out), []byte("0x73, 0x65")) {
			t.Errorf("%s of a struct prints the secret: %q", verb, out)
		}
	}
	if out, err := json.Marshal(in); err != nil || string(out) != `{"Open":"[redacted]"}` {
		t.Errorf("JSON %s %v", out, err)
	}
	if out, err := b.MarshalText(); err != nil || string(out) != redacted {
		t.Errorf("text %s %v", out, err)
	}
}

func TestReadFromASocketIntoABuffer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	want := bytes.Repeat([]byte("0123456789"), 5000)
	sent := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_, err = c.Write(want)
			_ = c.Close()
		}
		sent <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	b, err := newSlab(t, 64<<10).Alloc(len(want))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Fatal("other bytes arrived")
	}
}

func BenchmarkAllocFree(b *testing.B) {
	s := newSlab(b, 1<<20)
	for range 5000 { // a keeper with many keys
		if _, err := s.Alloc(64); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		buf, err := s.Alloc(64)
		if err != nil {
			b.Fatal(err)
		}
		buf.Free()
	}
}
