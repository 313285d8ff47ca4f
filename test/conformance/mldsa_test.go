package conformance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"os"

	"filippo.io/mldsa"
	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// OpenSSH's composite of ML-DSA-44 and Ed25519: 10.4 and 10.5 call it by a name
// of their own, 10.6 by the one that IANA registered. All else is the same.
const (
	compositeType   = "ssh-mldsa44-ed25519"
	compositeVendor = "ssh-mldsa44-ed25519@openssh.com"
)

// compositeKey is the public half, for checking signatures.
type compositeKey struct {
	name   string
	public []byte // ML-DSA's, then Ed25519's
}

func (k compositeKey) Type() string { return k.name }

func (k compositeKey) Marshal() []byte {
	return wire.AppendString(wire.AppendString(nil, k.name), k.public)
}

// Verify checks both signatures (draft-miller-sshm-mldsa44-ed25519-composite-sigs).
func (k compositeKey) Verify(data []byte, sig *ssh.Signature) error {
	if sig.Format != k.name {
		return errors.New("the signature is of another type")
	}
	if len(sig.Blob) != mldsa.MLDSA44SignatureSize+ed25519.SignatureSize {
		return errors.New("the signature has another size")
	}
	const label = "COMPSIG-MLDSA44-Ed25519-SHA512"
	digest := sha512.Sum512(data)
	message := append([]byte("CompositeAlgorithmSignatures2025"+label+"\x00"), digest[:]...)
	public, err := mldsa.NewPublicKey(mldsa.MLDSA44(), k.public[:mldsa.MLDSA44PublicKeySize])
	if err != nil {
		return err
	}
	if err := mldsa.Verify(public, message, sig.Blob[:mldsa.MLDSA44SignatureSize], &mldsa.Options{Context: label}); err != nil {
		return err
	}
	if !ed25519.Verify(k.public[mldsa.MLDSA44PublicKeySize:], message, sig.Blob[mldsa.MLDSA44SignatureSize:]) {
		return errors.New("the Ed25519 signature is wrong")
	}
	return nil
}

// composite returns the key that ssh-keygen 10.6 made, under one of its names.
func (r *run) composite(name string) *key {
	r.t.Helper()
	text, err := os.ReadFile("testdata/mldsa44-ed25519")
	if err != nil {
		r.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		r.t.Fatal("no PEM in testdata/mldsa44-ed25519")
	}
	// PROTOCOL.key, without encryption.
	m := wire.NewReader(bytes.TrimPrefix(block.Bytes, []byte("openssh-key-v1\x00")))
	m.String() // cipher
	m.String() // kdf
	m.String() // kdf options
	m.Uint32() // number of keys
	m.String() // public key
	private := wire.NewReader(m.String())
	private.Uint64() // two equal numbers
	private.String() // key type
	public, seeds := private.String(), private.String()
	if err := errors.Join(m.End(), private.Err()); err != nil {
		r.t.Fatalf("testdata/mldsa44-ed25519: %v", err)
	}
	plain := compositeKey{name, public}
	body := wire.AppendString(plain.Marshal(), seeds)
	return r.know(&key{name: name, public: plain.Marshal(), body: body, plain: plain})
}

// compositeCases are kept by themselves: before 10.4 there is no such key.
var compositeCases = []testCase{
	{name: "post-quantum key", do: func(r *run) {
		c, k := r.dial(), r.composite(compositeType)
		c.do("add", add(k))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
		c.doSign("sign nothing", k, nil, rsaSHA512)
		c.do("remove", remove(k))
		broken := *k
		broken.body = bytes.Clone(k.body)
		broken.body[len(broken.body)-1] ^= 1 // in the Ed25519 seed
		c.do("add with halves that don't belong together", add(&broken))
		broken.body[len(broken.body)-1] ^= 1
		broken.body[len(broken.body)-33] ^= 1 // in the ML-DSA seed
		c.do("add with other halves that don't belong together", add(&broken))
	}},
	{name: "post-quantum key by its first name", do: func(r *run) {
		c, k := r.dial(), r.composite(compositeVendor)
		c.do("add", add(k))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
	}},
}
