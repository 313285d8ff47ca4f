package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/mldsa"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

func newSlab(t testing.TB) *guard.Slab {
	t.Helper()
	s, err := guard.NewSlab(1 << 20)
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

// sample is a key as ssh-add would send it.
type sample struct {
	name    string
	encoded []byte // type and parts, without comment
	public  []byte // the blob it stands for
	plain   []byte
}

// capture is the connection of an agent client that keeps what is written to it
// and answers success.
type capture struct {
	sent   bytes.Buffer
	answer bytes.Reader
}

func (c *capture) Write(p []byte) (int, error) { return c.sent.Write(p) }

func (c *capture) Read(p []byte) (int, error) {
	if c.answer.Len() == 0 {
		c.answer.Reset([]byte{0, 0, 0, 1, 6})
	}
	return c.answer.Read(p)
}

// encode has x/crypto's agent client encode a key, and cuts the comment off.
func encode(t testing.TB, private any, cert *ssh.Certificate) []byte {
	t.Helper()
	const comment = "c"
	var c capture
	if err := agent.NewClient(&c).Add(agent.AddedKey{PrivateKey: private, Certificate: cert, Comment: comment}); err != nil {
		t.Fatal(err)
	}
	m := c.sent.Bytes()[4:]
	if m[0] != 17 {
		t.Fatalf("message %d", m[0])
	}
	return bytes.TrimSuffix(m[1:], wire.AppendString(nil, comment))
}

func certify(t testing.TB, key ssh.PublicKey) *ssh.Certificate {
	t.Helper()
	ca, err := ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{
		Key: key, Serial: 7, CertType: ssh.UserCert, KeyId: "id", ValidPrincipals: []string{"root"},
		ValidBefore: ssh.CertTimeInfinity,
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": ""}},
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return cert
}

// readRSA reads a key of testdata: generating one per run takes too long.
func readRSA(t testing.TB, name string) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecdsaKeyOf(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// samples returns a key of every type, plain and certified.
func samples(t testing.TB) []sample {
	t.Helper()
	var all []sample
	add := func(name string, private any, public any) {
		plain, err := ssh.NewPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		cert := certify(t, plain)
		all = append(all,
			sample{name, encode(t, private, nil), plain.Marshal(), plain.Marshal()},
			sample{name + " certificate", encode(t, private, cert), cert.Marshal(), plain.Marshal()})
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	add("ed25519", &priv, pub)
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k := ecdsaKeyOf(t, c)
		add(c.Params().Name, k, k.Public())
	}
	for _, name := range []string{"rsa2048.pem", "rsa3072.pem", "rsa4096.pem"} {
		k := readRSA(t, name)
		add(name, k, k.Public())
	}
	return append(all, mldsaSamples(t)...)
}

// mldsaSamples builds composite keys, which x/crypto doesn't know.
func mldsaSamples(t testing.TB) []sample {
	t.Helper()
	seeds := make([]byte, keypair.CompositeSecretSize)
	if _, err := rand.Read(seeds); err != nil {
		t.Fatal(err)
	}
	pq, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seeds[:32])
	if err != nil {
		t.Fatal(err)
	}
	public := append(pq.PublicKey().Bytes(), ed25519.NewKeyFromSeed(seeds[32:]).Public().(ed25519.PublicKey)...)
	plain := wire.AppendString(wire.AppendString(nil, typeMLDSA), public)
	encoded := wire.AppendString(bytes.Clone(plain), seeds)

	cert := wire.AppendString(nil, certMLDSA)
	cert = wire.AppendString(cert, "nonce")
	cert = wire.AppendString(cert, public)
	cert = wire.AppendUint64(cert, 7)
	cert = wire.AppendUint32(cert, 1)
	cert = wire.AppendString(cert, "id")
	cert = wire.AppendString(cert, wire.AppendString(nil, "root"))
	cert = wire.AppendUint64(wire.AppendUint64(cert, 0), 1<<63)
	for range 5 { // options, extensions, reserved, signature key, signature
		cert = wire.AppendString(cert, "")
	}
	certified := wire.AppendString(wire.AppendString(nil, certMLDSA), cert)
	certified = wire.AppendString(certified, seeds)
	return []sample{
		{"ML-DSA-44 with Ed25519", encoded, plain, plain},
		{"ML-DSA-44 with Ed25519 certificate", certified, cert, plain},
	}
}
