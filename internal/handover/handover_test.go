package handover

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
)

func TestIdentityArrivesWhole(t *testing.T) {
	slab := newSlab(t)
	opener, keeper := pair(t)
	vault, identity := id.Vault{1}, id.NewIdentity()
	halves := bytes.Repeat([]byte{2}, HalvesLen)
	sent := make(chan error, 1)
	go func() { sent <- Identity(opener, vault, identity, halves) }()
	gotID, got, err := ReceiveIdentity(keeper, vault, slab.Alloc)
	if err != nil {
		t.Fatal(err)
	}
	if gotID != identity || !bytes.Equal(got.Bytes(), halves) {
		t.Fatal("not what was sent")
	}
	if err := Verdict(keeper, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestKeepersRefusalReachesTheOpener(t *testing.T) {
	slab := newSlab(t)
	opener, keeper := pair(t)
	sent := make(chan error, 1)
	go func() { sent <- Key(opener, id.Vault{1}, []byte("key")) }()
	got, err := ReceiveKey(keeper, id.Vault{1}, slab.Alloc)
	if err != nil || string(got.Bytes()) != "key" {
		t.Fatalf("got %v, %v", got, err)
	}
	if err := Verdict(keeper, errors.New("halves differ")); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err == nil || err.Error() != "halves differ" {
		t.Fatalf("opener was told %v", err)
	}
}

// leaver is a connection whose other end closes after reading n bytes.
type leaver struct {
	io.ReadWriter
	n int
}

func (l *leaver) Write(b []byte) (int, error) {
	if l.n <= 0 {
		return 0, io.ErrClosedPipe
	}
	l.n -= len(b)
	return len(b), nil
}

// An opener that has read a good verdict is done, and its process ends.
func TestNothingIsWrittenBehindAVerdict(t *testing.T) {
	if err := Verdict(&leaver{n: 4}, nil); err != nil {
		t.Errorf("the opener had the verdict, and the keeper says: %v", err)
	}
}

func TestAnotherVaultIsRefusedBeforeTheSecret(t *testing.T) {
	slab := newSlab(t)
	opener, keeper := pair(t)
	sent := make(chan error, 1)
	go func() { sent <- Key(opener, id.Vault{1}, []byte("key")) }()
	if _, err := ReceiveKey(keeper, id.Vault{2}, slab.Alloc); !errors.Is(err, ipc.ErrMismatch) {
		t.Fatalf("keeper: %v", err)
	}
	if err := <-sent; !errors.Is(err, ipc.ErrMismatch) {
		t.Fatalf("opener: %v", err)
	}
}

func newSlab(t *testing.T) *guard.Slab {
	t.Helper()
	slab, err := guard.NewSlab(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slab.Close() })
	return slab
}

// pair returns connected sockets, as the opener and the keeper have them.
func pair(t *testing.T) (opener, keeper io.ReadWriter) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := os.NewFile(uintptr(fds[0]), "opener"), os.NewFile(uintptr(fds[1]), "keeper")
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}
