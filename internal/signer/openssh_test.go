package signer

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"vigil/internal/wire"
)

// readOpenSSH returns the decoded contents of a PEM-like file of OpenSSH's tests.
func readOpenSSH(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "openssh", name))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s: no PEM block", name)
	}
	return block.Bytes
}

// readOpenSSHPrivate returns the private part of an unencrypted key file, from
// the key type on (PROTOCOL.key).
func readOpenSSHPrivate(t testing.TB, name string) []byte {
	t.Helper()
	r := wire.NewReader(readOpenSSH(t, name))
	r.Bytes(len("openssh-key-v1\x00"))
	for range 3 { // cipher, KDF, its options
		r.String()
	}
	r.Uint32() // keys
	r.String() // public key
	private := wire.NewReader(r.String())
	private.Bytes(8) // check numbers
	if err := r.End(); err != nil || private.Err() != nil {
		t.Fatal(name, err, private.Err())
	}
	return private.Rest()
}

func readOpenSSHPublic(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "openssh", name))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := base64.StdEncoding.DecodeString(string(bytes.Fields(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func TestReadsOpenSSHsCompositeKey(t *testing.T) {
	k, _, err := Parse(newSlab(t), readOpenSSHPrivate(t, "mldsa44-ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Free()
	if !bytes.Equal(k.Public(), readOpenSSHPublic(t, "mldsa44-ed25519.pub")) {
		t.Fatal("another public key")
	}
}

func TestReadsOpenSSHsCompositeCertificate(t *testing.T) {
	plain := wire.NewReader(readOpenSSHPrivate(t, "mldsa44_ed25519_1"))
	plain.String() // type
	plain.String() // public keys, which a certificate's private part leaves out
	cert := readOpenSSHPublic(t, "mldsa44_ed25519_1-cert.pub")
	encoded := wire.AppendString(wire.AppendString(nil, certMLDSA), cert)
	k, _, err := Parse(newSlab(t), append(encoded, plain.Rest()...))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Free()
	if !bytes.Equal(k.Public(), cert) {
		t.Fatal("another certificate")
	}
}

// TestVerifyAgreesWithOpenSSH shows that what these tests verify composite
// signatures with accepts a signature that OpenSSH made (PROTOCOL.sshsig).
func TestVerifyAgreesWithOpenSSH(t *testing.T) {
	r := wire.NewReader(readOpenSSH(t, "mldsa44-ed25519.sig"))
	r.Bytes(len("SSHSIG"))
	r.Uint32() // version
	public, namespace, reserved, hash, sig := r.String(), r.String(), r.String(), r.String(), r.String()
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	data := []byte("This is a test, this is only a test")
	var sum []byte
	switch string(hash) {
	case "sha256":
		h := sha256.Sum256(data)
		sum = h[:]
	case "sha512":
		h := sha512.Sum512(data)
		sum = h[:]
	default:
		t.Fatalf("hash %q", hash)
	}
	signed := []byte("SSHSIG")
	for _, part := range [][]byte{namespace, reserved, hash, sum} {
		signed = wire.AppendString(signed, part)
	}
	if err := verify(t, public, signed, sig); err != nil {
		t.Fatal(err)
	}
}
