package signer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"

	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/keypair"
	"vigil/internal/skhelper"
	"vigil/internal/wire"
)

// device is a security key with one key, and the ssh-sk-helper in front of it: written to,
// it answers.
type device struct {
	private ed25519.PrivateKey
	data    []byte

	application string
	flags       byte // of its signatures
	typ         string
	extra       []byte // after the signature

	out bytes.Buffer
}

func (d *device) Write(b []byte) (int, error) {
	application, message := sha256.Sum256([]byte(d.application)), sha256.Sum256(d.data)
	signed := append(application[:], d.flags)
	signed = append(wire.AppendUint32(signed, 7), message[:]...)
	sig := wire.AppendString(wire.AppendString(nil, d.typ), ed25519.Sign(d.private, signed))
	sig = append(wire.AppendUint32(append(sig, d.flags), 7), d.extra...)
	d.out.Reset()
	return len(b), ipc.Write(&d.out, 1<<16, append([]byte{5, 0, 0, 0, 1}, wire.AppendString(nil, sig)...))
}

func (d *device) Read(b []byte) (int, error) { return d.out.Read(b) }

// TestSignThrough: a signature leaves only if it is the key's, over this data, made as the
// key demands.
func TestSignThrough(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	defer slab.Close()
	encode := func(flags byte) []byte {
		b := wire.AppendString(wire.AppendString(wire.AppendString(nil, keypair.TokenEd25519), public), "ssh:")
		return wire.AppendString(wire.AppendString(append(b, flags), "handle"), "")
	}
	data := []byte("data")
	for _, tt := range []struct {
		name   string
		flags  byte // of the key
		change func(d *device)
		want   error
	}{
		{"touched", skPresence, func(*device) {}, nil},
		{"touched and verified, though nobody asked", 0, func(d *device) { d.flags = skPresence | skVerified }, nil},
		{"not touched, and it needn't be", 0, func(d *device) { d.flags = 0 }, nil},
		{"not touched", skPresence, func(d *device) { d.flags = 0 }, ErrFault},
		{"not verified", skPresence | skVerified, func(*device) {}, ErrFault},
		{"another key's", skPresence, func(d *device) { d.private = other }, ErrFault},
		{"over other data", skPresence, func(d *device) { d.data = []byte("other") }, ErrFault},
		{"for another application", skPresence, func(d *device) { d.application = "ssh:other" }, ErrFault},
		{"of another type", skPresence, func(d *device) { d.typ = keypair.TokenECDSA }, ErrFault},
		{"with more behind it", skPresence, func(d *device) { d.extra = []byte{0} }, ErrFault},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, rest, err := Parse(slab, encode(tt.flags))
			if err != nil || len(rest) != 0 {
				t.Fatalf("parse: %v, %d bytes left", err, len(rest))
			}
			defer k.Free()
			if _, err := k.AppendSign(nil, data, 0, false); !errors.Is(err, ErrToken) {
				t.Errorf("without the device it signs: %v", err)
			}
			d := &device{private: private, data: data, application: "ssh:", flags: skPresence, typ: keypair.TokenEd25519}
			tt.change(d)
			sig, err := k.SignThrough(d, []byte("before"), data, skhelper.Internal, nil)
			if !errors.Is(err, tt.want) || err == nil && !bytes.HasPrefix(sig, []byte("before")) {
				t.Fatalf("got %q, %v; want %v", sig, err, tt.want)
			}
		})
	}
	k, _, err := Parse(slab, encode(0))
	if err != nil {
		t.Fatal(err)
	}
	k.Free()
	if _, err := k.SignThrough(&device{private: private}, nil, data, "", nil); !errors.Is(err, ErrFreed) {
		t.Errorf("a freed key: %v", err)
	}
}

func TestMalformedTokens(t *testing.T) {
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	defer slab.Close()
	key := bytes.Repeat([]byte{1}, 32)
	token := func(typ string, public, application, handle []byte) []byte {
		b := wire.AppendString(wire.AppendString(wire.AppendString(nil, typ), public), application)
		return wire.AppendString(wire.AppendString(append(b, 1), handle), "")
	}
	for name, b := range map[string][]byte{
		"a short key":                   token(keypair.TokenEd25519, key[:31], []byte("ssh:"), key),
		"no application":                token(keypair.TokenEd25519, key, nil, key),
		"an application with a zero":    token(keypair.TokenEd25519, key, []byte("ssh:\x00"), key),
		"no handle":                     token(keypair.TokenEd25519, key, []byte("ssh:"), nil),
		"a handle of a megabyte":        token(keypair.TokenEd25519, key, []byte("ssh:"), make([]byte, 1<<20)),
		"no curve":                      token(keypair.TokenECDSA, key, []byte("ssh:"), key),
		"a point that isn't on P-256":   wire.AppendString(token(keypair.TokenECDSA, []byte("nistp256"), append([]byte{4}, make([]byte, 64)...), []byte("ssh:")), key),
		"nothing behind the type":       wire.AppendString(nil, keypair.TokenEd25519),
		"a certificate's type, without": token("sk-ssh-ed25519-cert-v01@openssh.com", key, []byte("ssh:"), key),
	} {
		t.Run(name, func(t *testing.T) {
			if k, _, err := Parse(slab, b); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrMismatch) {
				k.Free()
				t.Fatalf("got %v", err)
			}
		})
	}
	if used := slab.Usage().Used; used != 0 {
		t.Errorf("%d bytes of guarded memory are still in use", used)
	}
}
