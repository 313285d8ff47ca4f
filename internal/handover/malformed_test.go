package handover

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"vigil/internal/buildid"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/wire"
)

// peer sends fixed bytes, and discards what it receives.
type peer struct{ *bytes.Reader }

func (peer) Write(p []byte) (int, error) { return len(p), nil }

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func helloOf(role ipc.Role, vault id.Vault) []byte {
	b := wire.AppendString(nil, buildid.ID())
	b = wire.AppendString(b, role)
	return frame(wire.AppendString(b, vault[:]))
}

// TestBrokenHandovers: each is refused, and none leaves guarded memory in use.
func TestBrokenHandovers(t *testing.T) {
	vault := id.Vault{1}
	hello := helloOf(ipc.Opener, vault)
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	whole := frame(make([]byte, len(id.Identity{})+HalvesLen))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tt := range []struct {
		name          string
		sent          []byte
		identity, key bool // whether each must refuse it
		want          error
	}{
		{"nothing", nil, true, true, nil},
		{"half a hello", hello[:10], true, true, nil},
		{"a hello too long", length(maxText + 1), true, true, ipc.ErrTooLong},
		{"the largest length there is", length(1<<32 - 1), true, true, ipc.ErrTooLong},
		{"a hello of a keeper", join(helloOf(ipc.Keeper, vault), whole), true, true, ipc.ErrMismatch},
		{"a hello for another vault", join(helloOf(ipc.Opener, id.Vault{2}), whole), true, true, ipc.ErrMismatch},
		{"only a hello", hello, true, true, nil},
		{"cut in the secret", join(hello, whole[:len(whole)-1]), true, true, nil},
		{"an identity too short", join(hello, frame(make([]byte, 10))), true, false, errSize},
		{"an identity too long", join(hello, frame(make([]byte, 200))), true, false, ipc.ErrTooLong},
		{"an empty identity", join(hello, frame(nil)), true, false, errSize},
		{"a key too long", join(hello, length(MaxKey+1)), true, true, ipc.ErrTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			slab := newSlab(t)
			_, halves, err := ReceiveIdentity(peer{bytes.NewReader(tt.sent)}, vault, slab.Alloc)
			if (err != nil) != tt.identity || err != nil && halves != nil {
				t.Fatalf("identity: %v", err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("identity: %v, want %v", err, tt.want)
			}
			halves.Free()
			key, err := ReceiveKey(peer{bytes.NewReader(tt.sent)}, vault, slab.Alloc)
			if (err != nil) != tt.key || err != nil && key != nil {
				t.Fatalf("key: %v", err)
			}
			key.Free()
			if used := slab.Usage().Used; used != 0 {
				t.Fatalf("%d bytes of guarded memory are in use", used)
			}
		})
	}
}

func TestSecretsOfTheWrongSizeAreNotSent(t *testing.T) {
	for name, send := range map[string]func(io.ReadWriter) error{
		"halves too short": func(rw io.ReadWriter) error {
			return Identity(rw, id.Vault{}, id.Identity{}, make([]byte, HalvesLen-1))
		},
		"halves too long": func(rw io.ReadWriter) error {
			return Identity(rw, id.Vault{}, id.Identity{}, make([]byte, HalvesLen+1))
		},
		"a key too long": func(rw io.ReadWriter) error { return Key(rw, id.Vault{}, make([]byte, MaxKey+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			var sent bytes.Buffer
			if err := send(&sent); err == nil || sent.Len() > 0 {
				t.Fatalf("%d bytes sent, %v", sent.Len(), err)
			}
		})
	}
}

func TestAVerdictIsCutToItsLimit(t *testing.T) {
	var sent bytes.Buffer
	if err := Verdict(&sent, errors.New(string(bytes.Repeat([]byte("x"), 10*maxText)))); err != nil {
		t.Fatal(err)
	}
	if err := readVerdict(&sent); err == nil || len(err.Error()) != maxText {
		t.Fatalf("got %v", err)
	}
}

func TestNoRoomForASecret(t *testing.T) {
	full := func(int) (*guard.Buffer, error) { return nil, guard.ErrFull }
	sent := append(helloOf(ipc.Opener, id.Vault{1}), frame(make([]byte, len(id.Identity{})+HalvesLen))...)
	if _, _, err := ReceiveIdentity(peer{bytes.NewReader(sent)}, id.Vault{1}, full); !errors.Is(err, guard.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if _, err := ReceiveKey(peer{bytes.NewReader(sent)}, id.Vault{1}, full); !errors.Is(err, guard.ErrFull) {
		t.Fatalf("got %v", err)
	}
}

// FuzzReceive: any input is accepted or refused, and leaves no guarded memory in use.
func FuzzReceive(f *testing.F) {
	vault := id.Vault{1}
	f.Add(append(helloOf(ipc.Opener, vault), frame(make([]byte, len(id.Identity{})+HalvesLen))...))
	f.Add(append(helloOf(ipc.Opener, vault), frame([]byte("key"))...))
	f.Add(helloOf(ipc.Front, vault))
	slab, err := guard.NewSlab(2 * MaxKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = slab.Close() })
	f.Fuzz(func(t *testing.T, sent []byte) {
		if _, halves, err := ReceiveIdentity(peer{bytes.NewReader(sent)}, vault, slab.Alloc); (err == nil) != (halves != nil) {
			t.Fatalf("identity: %v", err)
		} else if halves != nil {
			halves.Free()
		}
		if key, err := ReceiveKey(peer{bytes.NewReader(sent)}, vault, slab.Alloc); (err == nil) != (key != nil) {
			t.Fatalf("key: %v", err)
		} else if key != nil {
			key.Free()
		}
		if err := readVerdict(bytes.NewReader(sent)); err == nil && !bytes.HasPrefix(sent, make([]byte, 4)) {
			t.Fatal("a verdict that isn't empty was read as good")
		}
		if used := slab.Usage().Used; used != 0 {
			t.Fatalf("%d bytes of guarded memory are in use", used)
		}
	})
}
