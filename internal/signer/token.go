package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/skhelper"
	"vigil/internal/wire"
)

// The types of certificates for keys in security keys (OpenSSH's PROTOCOL.u2f), and the
// flags of a key and of its signatures (sk-api.h).
const (
	certSKEd25519 = "sk-ssh-ed25519-cert-v01@openssh.com"
	certSKECDSA   = "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"

	skPresence = 1 // someone touched the device
	skVerified = 4 // and proved who they are
)

// ErrToken reports a signature with a key in a security key: SignThrough makes it.
var ErrToken = errors.New("the private half is in a security key")

// token is a key in a security key.
type token struct{ *keypair.Token }

// parseSKEd25519 reads public key, application, flags, handle and a reserved field; a
// certificate has the first two as well.
func parseSKEd25519(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	n, err := keypair.ReadToken(r, keypair.TokenEd25519)
	if err != nil {
		return nil, err
	}
	if cert != nil && !bytes.Equal(cert.String(), n.Public) {
		return nil, ErrMismatch
	}
	return newToken(slab, n, cert)
}

// parseSKECDSA reads curve, point, application, flags, handle and a reserved field. With
// a certificate, the first two are in it alone.
func parseSKECDSA(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	if cert == nil {
		n, err := keypair.ReadToken(r, keypair.TokenECDSA)
		if err != nil {
			return nil, err
		}
		return newToken(slab, n, nil)
	}
	n := keypair.TokenNumbers{Type: keypair.TokenECDSA}
	curve := cert.String()
	n.Public = cert.String()
	n.ReadPrivate(r)
	if r.Err() != nil || cert.Err() != nil || string(curve) != "nistp256" {
		return nil, ErrMalformed
	}
	return newToken(slab, n, cert)
}

// newToken makes the private half; cert is nil, or positioned at the application.
func newToken(slab *guard.Slab, n keypair.TokenNumbers, cert *wire.Reader) (private, error) {
	if cert != nil {
		application := cert.String()
		if err := cert.Err(); err != nil {
			return nil, malformed(err)
		}
		if !bytes.Equal(application, n.Application) {
			return nil, ErrMismatch
		}
	}
	t, err := keypair.NewToken(slab, n)
	if err != nil {
		return nil, err
	}
	return token{t}, nil
}

func (t token) appendSignature([]byte, []byte, uint32, bool) ([]byte, error) { return nil, ErrToken }
func (t token) plainBlob() []byte                                            { return t.Blob }
func (t token) free()                                                        { t.Free() }

// SignThrough is AppendSign for a key in a security key: ssh-sk-helper at the other end of
// helper has the device sign, with the device's PIN if one is given, as package skhelper
// says. It waits for the touch. The signature is verified, with the
// presence and the verification that the key asks for; otherwise the error is ErrFault. The
// others are ErrFreed, ErrUnsupported for a key that isn't in a security key, and skhelper's.
func (k *Key) SignThrough(helper io.ReadWriter, dst, data []byte, provider string, pin []byte) ([]byte, error) {
	t, ok := k.priv.(token)
	if !ok {
		return nil, fmt.Errorf("sign with %s key through a security key: %w", k.typ, ErrUnsupported)
	}
	if !k.acquire() {
		return nil, ErrFreed
	}
	defer k.release()
	sig, err := skhelper.Sign(helper, t.Encoding.Bytes(), provider, data, pin)
	if err != nil {
		return nil, err
	}
	if !t.genuine(sig, data) {
		return nil, fmt.Errorf("sign with %s key: %w", k.typ, ErrFault)
	}
	return append(dst, sig...), nil
}

// genuine verifies a signature blob (OpenSSH: ssh_ed25519_sk_verify, ssh_ecdsa_sk_verify).
func (t token) genuine(blob, data []byte) bool {
	r := wire.NewReader(blob)
	typ, sig, flags, counter := r.String(), r.String(), r.Byte(), r.Uint32()
	if r.End() != nil || string(typ) != t.Type {
		return false
	}
	if missing := t.Flags & (skPresence | skVerified) &^ flags; missing != 0 {
		return false
	}
	application, message := sha256.Sum256(t.Application), sha256.Sum256(data)
	signed := append(application[:], flags)
	signed = wire.AppendUint32(signed, counter)
	signed = append(signed, message[:]...)
	if t.Type == keypair.TokenEd25519 {
		return ed25519.Verify(t.Public, signed, sig)
	}
	return verifyECDSA(t.Public, signed, sig)
}

// verifyECDSA verifies a signature of P-256 in SSH's encoding.
func verifyECDSA(point, signed, sig []byte) bool {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return false
	}
	numbers := wire.NewReader(sig)
	r, s := new(big.Int).SetBytes(numbers.Mpint()), new(big.Int).SetBytes(numbers.Mpint())
	digest := sha256.Sum256(signed)
	return numbers.End() == nil && ecdsa.Verify(key, digest[:], r, s)
}
