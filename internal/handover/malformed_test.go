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
	"vigil/internal/wire"
)

// peer plays what the other end sends, and forgets what it's sent.
type peer struct{ *bytes.Reader }

func (peer) Write(p []byte) (int, error) { return len(p), nil }

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func helloOf(role string, vault id.Vault) []byte {
	b := wire.AppendString(nil, buildid.ID())
	b = wire.AppendString(b, role)
	return frame(wire.AppendString(b, vault[:]))
}

// TestBrokenHandovers: each is refused, and none leaves guarded memory in use.
func TestBrokenHandovers(t *testing.T) {
	vault := id.Vault{1}
	hello := helloOf(roleOpener, vault)
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	whole := frame(make([]byte, len(id.Identity{})+HalvesLen))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tt := range []struct {
		name          string
		sent          []byte
		identity, key bool // which of the two must refuse it
		wantMismatch  bool
	}{
		{"nothing", nil, true, true, false},
		{"half a hello", hello[:10], true, true, false},
		{"a hello too long", length(maxText + 1), true, true, false},
		{"the largest length there is", length(1<<32 - 1), true, true, false},
		{"a hello of a keeper", join(helloOf(roleKeeper, vault), whole), true, true, true},
		{"a hello for another vault", join(helloOf(roleOpener, id.Vault{2}), whole), true, true, true},
		{"only a hello", hello, true, true, false},
		{"cut in the secret", join(hello, whole[:len(whole)-1]), true, true, false},
		{"an identity too short", join(hello, frame(make([]byte, 10))), true, false, true},
		{"an identity too long", join(hello, frame(make([]byte, 200))), true, false, true},
		{"an empty identity", join(hello, frame(nil)), true, false, true},
		{"a key too long", join(hello, length(MaxKey+1)), true, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			slab := newSlab(t)
			_, halves, err := ReceiveIdentity(peer{bytes.NewReader(tt.sent)}, vault, slab.Alloc)
			if (err != nil) != tt.identity || err != nil && halves != nil {
				t.Fatalf("identity: %v", err)
			}
			if tt.wantMismatch && !errors.Is(err, ErrMismatch) {
				t.Fatalf("identity: %v, want a mismatch", err)
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
	sent := append(helloOf(roleOpener, id.Vault{1}), frame(make([]byte, len(id.Identity{})+HalvesLen))...)
	if _, _, err := ReceiveIdentity(peer{bytes.NewReader(sent)}, id.Vault{1}, full); !errors.Is(err, guard.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if _, err := ReceiveKey(peer{bytes.NewReader(sent)}, id.Vault{1}, full); !errors.Is(err, guard.ErrFull) {
		t.Fatalf("got %v", err)
	}
}
