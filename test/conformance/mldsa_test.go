package conformance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"io"
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

// compositeSigner signs with both halves, as a host does.
type compositeSigner struct {
	compositeKey
	seeds []byte
}

func (s compositeSigner) PublicKey() ssh.PublicKey { return s.compositeKey }

func (s compositeSigner) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	const label = "COMPSIG-MLDSA44-Ed25519-SHA512"
	digest := sha512.Sum512(data)
	message := append([]byte("CompositeAlgorithmSignatures2025"+label+"\x00"), digest[:]...)
	lattice, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), s.seeds[:mldsa.PrivateKeySize])
	if err != nil {
		return nil, err
	}
	sig, err := lattice.Sign(nil, message, &mldsa.Options{Context: label})
	if err != nil {
		return nil, err
	}
	classical := ed25519.NewKeyFromSeed(s.seeds[mldsa.PrivateKeySize:])
	return &ssh.Signature{Format: s.name, Blob: append(sig, ed25519.Sign(classical, message)...)}, nil
}

func (s compositeSigner) SignWithAlgorithm(random io.Reader, data []byte, _ string) (*ssh.Signature, error) {
	return s.Sign(random, data)
}

// compositeCertificate returns the key with a certificate in force, whose type
// is not made of the key's as others are.
func (r *run) compositeCertificate(k *key, certType string, kind uint32, principal string, ca *key) *key {
	r.t.Helper()
	m := wire.NewReader(k.public)
	m.String()
	cert := wire.AppendString(nil, certType)
	cert = wire.AppendString(cert, "a nonce of 32 bytes for the test")
	cert = append(cert, m.Rest()...)
	cert = wire.AppendUint32(wire.AppendUint64(cert, 1), kind)
	cert = wire.AppendString(cert, k.name)
	cert = wire.AppendString(cert, wire.AppendString(nil, principal))
	cert = wire.AppendUint64(wire.AppendUint64(cert, 0), uint64(forever.Unix()))
	cert = wire.AppendString(wire.AppendString(wire.AppendString(cert, ""), ""), "")
	cert = wire.AppendString(cert, ca.public)
	cert = wire.AppendString(cert, hostSignature(r.t, ca, cert, ca.plain.Type()))
	seeds := k.signer.(compositeSigner).seeds
	body := wire.AppendString(wire.AppendString(wire.AppendString(nil, certType), cert), seeds)
	return r.know(&key{name: k.name + " certificate", signer: k.signer, public: cert, body: body, plain: k.plain})
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
	return r.know(&key{name: name, signer: compositeSigner{plain, seeds}, public: plain.Marshal(), body: body, plain: plain})
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
	{name: "post-quantum user certificate", do: func(r *run) {
		c, k := r.dial(), r.composite(compositeType)
		cert := r.compositeCertificate(k, "ssh-mldsa44-ed25519-cert", ssh.UserCert, "user", r.key("ed25519 user ca"))
		c.do("add", add(cert))
		c.do("list", list())
		c.doSign("sign", cert, []byte("data"), 0)
	}},
	{name: "post-quantum host keys", do: func(r *run) {
		c, host, k, ca := r.dial(), r.composite(compositeType), r.key("ed25519"), r.key("ed25519 host ca")
		c.must(add(k, restrict(hop{}, hop{host: "host", keys: []*key{ca}, cas: []*key{ca}})))
		c.do("bind", bind(r.t, host, sid(1), authentication))
		flipped := bytes.Clone(bind(r.t, host, sid(1), authentication))
		flipped[len(flipped)-2] ^= 1
		r.dial().do("bind with a flipped bit", flipped)
		cert := r.compositeCertificate(host, "ssh-mldsa44-ed25519-cert", ssh.HostCert, "host", ca)
		certified := r.dial()
		certified.do("bind to a certificate", bind(r.t, cert, sid(1), authentication))
		certified.do("list: the CA's hosts may be logged in to", list())
		certified.doSign("log in", k, login(sid(1), "user", k, cert).encode(), 0)
	}},
	{name: "post-quantum host key by its first name", do: func(r *run) {
		r.dial().do("bind", bind(r.t, r.composite(compositeVendor), sid(1), authentication))
	}},
	{name: "post-quantum key by its first name", do: func(r *run) {
		c, k := r.dial(), r.composite(compositeVendor)
		c.do("add", add(k))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
	}},
}
