package policy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

func TestParseKeyReadsWhatXCryptoWrites(t *testing.T) {
	edKey, _, _ := ed25519.GenerateKey(rand.Reader)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := ssh.NewSignerFromKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []any{edKey, &ecKey.PublicKey, &rsaKey.PublicKey} {
		public, err := ssh.NewPublicKey(k)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(public.Type(), func(t *testing.T) {
			got, err := ParseKey(public.Marshal())
			if err != nil || got.Type != public.Type() || !bytes.Equal(got.Plain, got.Blob) || got.Cert != nil {
				t.Fatalf("got %+v, %v", got, err)
			}
			cert := &ssh.Certificate{
				Key: public, CertType: ssh.HostCert, KeyId: "id", ValidPrincipals: []string{"a", "b"}, ValidBefore: 5,
				Permissions: ssh.Permissions{Extensions: map[string]string{"x": ""}},
			}
			if err := cert.SignCert(rand.Reader, ca); err != nil {
				t.Fatal(err)
			}
			got, err = ParseKey(cert.Marshal())
			if err != nil {
				t.Fatal(err)
			}
			c := got.Cert
			if got.Type != public.Type() || !bytes.Equal(got.Plain, public.Marshal()) || c.KeyID != "id" ||
				len(c.Principals) != 2 || c.ValidBefore != 5 || !bytes.Equal(c.CA, ca.PublicKey().Marshal()) ||
				len(c.Critical) != 0 || c.SignatureAlgorithm() != ca.PublicKey().Type() {
				t.Fatalf("got %+v %+v", got, c)
			}
			if err := ca.PublicKey().Verify(c.Signed, cert.Signature); err != nil {
				t.Fatalf("the signed part is cut wrong: %v", err)
			}
		})
	}
}

func TestParseKeyRefuses(t *testing.T) {
	good := hostCert(nil)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, wire.ErrShort},
		{"an unknown type", wire.AppendString(nil, "ssh-future"), ErrKeyType},
		{"a signature algorithm for a type", wire.AppendString(nil, "rsa-sha2-256"), ErrKeyType},
		{"a key cut short", blob("x")[:20], wire.ErrShort},
		{"bytes after the key", append(blob("x"), 0), wire.ErrTrailing},
		{"an RSA exponent with a leading zero", wire.AppendString(wire.AppendString(wire.AppendString(nil, "ssh-rsa"), "\x00\x03"), "\x05"), wire.ErrPadded},
		{"a certificate cut short", good[:len(good)-1], ErrCertificate},
		{"bytes after the certificate", append(bytes.Clone(good), 0), ErrCertificate},
		{"a certificate of no kind", hostCert(func(c *certificate) { c.kind = 3 }), ErrCertificate},
		{"a principal with a zero byte", hostCert(func(c *certificate) { c.principals = []string{"a\x00b"} }), ErrCertificate},
		{"too many principals", hostCert(func(c *certificate) { c.principals = make([]string, MaxPrincipals+1) }), ErrCertificate},
		{"half a critical option", hostCert(func(c *certificate) { c.critical = wire.AppendString(nil, "x") }), ErrCertificate},
		{"an authority that is a certificate", hostCert(func(c *certificate) { c.ca = good }), ErrKeyType},
		{"an authority of an unknown type", hostCert(func(c *certificate) { c.ca = wire.AppendString(nil, "ssh-future") }), ErrKeyType},
	} {
		t.Run(c.name, func(t *testing.T) {
			if k, err := ParseKey(c.in); !errors.Is(err, c.want) {
				t.Fatalf("got %+v, %v; want %v", k, err, c.want)
			}
		})
	}
}

func TestAlgorithmFits(t *testing.T) {
	rsaBlob := wire.AppendString(wire.AppendString(wire.AppendString(nil, "ssh-rsa"), "\x03"), "\x05")
	for _, c := range []struct {
		key       []byte
		algorithm string
		want      bool
	}{
		{blob("x"), "ssh-ed25519", true},
		{blob("x"), "ssh-ed25519-cert-v01@openssh.com", false},
		{blob("x"), "rsa-sha2-256", false},
		{rsaBlob, "ssh-rsa", true},
		{rsaBlob, "rsa-sha2-256", true},
		{rsaBlob, "rsa-sha2-512", true},
		{rsaBlob, "rsa-sha2-512-cert-v01@openssh.com", false},
		{hostCert(nil), "ssh-ed25519-cert-v01@openssh.com", true},
		{hostCert(nil), "ssh-ed25519", false},
	} {
		k := parse(t, c.key)
		if got := k.algorithmFits(c.algorithm); got != c.want {
			t.Errorf("%s for a key of type %s: %v", c.algorithm, k.Type, got)
		}
	}
}

// FuzzParseKey holds that x/crypto reads what is accepted here the same way.
func FuzzParseKey(f *testing.F) {
	f.Add(blob("x"))
	f.Add(hostCert(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := ParseKey(in)
		if err != nil {
			return
		}
		plain, err := ParseKey(k.Plain)
		if err != nil || plain.Cert != nil || plain.Type != k.Type {
			t.Fatalf("the key in it: %+v, %v", plain, err)
		}
		public, err := ssh.ParsePublicKey(in)
		if err != nil {
			return // x/crypto looks at the numbers too
		}
		if !bytes.Equal(public.Marshal(), in) {
			t.Fatalf("x/crypto encodes it as %x", public.Marshal())
		}
	})
}
