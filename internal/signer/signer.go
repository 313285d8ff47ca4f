// Package signer makes SSH signatures with private keys in guarded memory. It
// supports the plain key types ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa
// (2048 to 8192 bits) and ssh-mldsa44-ed25519@openssh.com, each with and without
// an OpenSSH certificate, in ssh-add's encoding.
//
// A key's secret values are copied once, from the encoding into a guard.Slab, and
// everything computed from them is computed inside guard.Do. Ed25519 and ECDSA
// allocate nothing there; RSA and ML-DSA do. The caller of Parse or AppendSign
// calls a guard.Sweeper's Touch afterwards, whatever the key type: its collections
// erase what was allocated, and the registers that a signal during a signature
// left on its handler's stack.
//
// Nothing here logs, and no error contains key material.
package signer

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

// The signature flags of SSH_AGENTC_SIGN_REQUEST (RFC 9987 section 3.6.1), and one for
// a request without any. They apply to RSA only; other key types ignore them.
const (
	FlagSHA256 uint32 = 2       // rsa-sha2-256
	FlagSHA512 uint32 = 4       // rsa-sha2-512
	FlagSHA1   uint32 = 1 << 31 // ssh-rsa; agentproto.FlagRSASHA1
)

// maxTypeName is the longest key type name, in bytes (RFC 4251 section 6).
const maxTypeName = 64

var (
	// ErrUnsupported reports an unsupported key type or size.
	ErrUnsupported = keypair.ErrUnsupported
	// ErrMalformed reports a truncated encoding or one with impossible values.
	ErrMalformed = keypair.ErrMalformed
	// ErrMismatch reports a private and a public half, or a key and a certificate,
	// that don't belong together. Signing with such a pair can reveal the key.
	ErrMismatch = keypair.ErrMismatch
	// ErrSHA1 reports a request for an RSA signature without a flag, which in the agent
	// protocol asks for SHA-1.
	ErrSHA1 = errors.New("RSA signatures with SHA-1 are refused")
	// ErrFlags reports signature flags RFC 9987 doesn't define.
	ErrFlags = errors.New("unknown signature flags")
	// ErrFreed reports use of a key after Free.
	ErrFreed = errors.New("key is not in memory any more")
	// ErrFault reports that a signature did not verify with its own key, so the
	// computation was faulty. It is withheld, because it could reveal the key.
	ErrFault = errors.New("signature is faulty and was withheld")
)

// Key is one private key. It is safe for concurrent use; signatures run in
// parallel and hold no lock.
type Key struct {
	typ    string
	public []byte
	plain  []byte
	priv   private
	// uses counts the signatures in progress. Free adds math.MinInt64, and the
	// goroutine that brings uses to exactly that wipes the key. A key must not be
	// wiped during a signature: Ed25519 with a zeroed nonce prefix would reveal the
	// scalar.
	uses atomic.Int64
}

// private is a key type's private half.
type private interface {
	// appendSignature appends a signature blob (string algorithm, string signature).
	appendSignature(dst, data []byte, flags uint32, spareCore bool) ([]byte, error)
	// plainBlob returns the public key blob without certificate.
	plainBlob() []byte
	// free wipes the private values.
	free()
}

// parseFunc reads the private half of a key from r. For a certificate's key, it
// reads the public half from cert, which is positioned at the certificate's public
// key fields and left after them; otherwise cert is nil.
type parseFunc func(slab *guard.Slab, r, cert *wire.Reader) (private, error)

// lookup returns how to parse a key type, and whether it is a certificate's.
func lookup(name string) (parse parseFunc, certificate bool) {
	switch name {
	case typeEd25519:
		return parseEd25519, false
	case certEd25519:
		return parseEd25519, true
	case typeRSA:
		return parseRSA, false
	case certRSA:
		return parseRSA, true
	case typeMLDSA:
		return parseMLDSA, false
	case typeMLDSARegistered:
		return parseMLDSARegistered, false
	case certMLDSA:
		return parseMLDSA, true
	case certMLDSARegistered:
		return parseMLDSARegistered, true
	case keypair.TokenEd25519:
		return parseSKEd25519, false
	case certSKEd25519:
		return parseSKEd25519, true
	case keypair.TokenECDSA:
		return parseSKECDSA, false
	case certSKECDSA:
		return parseSKECDSA, true
	}
	for i := range curves {
		c := &curves[i]
		if name == c.Type || name == c.cert {
			return c.parse, name == c.cert
		}
	}
	return nil, false
}

// Parse reads a private key in the encoding of SSH_AGENTC_ADD_IDENTITY
// (RFC 9987 section 3.2; certificates: PROTOCOL.certkeys), from the key type's
// name on, and copies its secret values into slab. It verifies that private
// half, public half and certificate belong together. rest is what follows the
// key (comment, constraints); it aliases encoded, which Parse neither keeps nor
// wipes. The caller calls Free on the key.
//
// Errors wrap ErrUnsupported, ErrMalformed or ErrMismatch, or are the slab's.
// Parse doesn't check a certificate's own signature and validity.
func Parse(slab *guard.Slab, encoded []byte) (k *Key, rest []byte, err error) {
	r := wire.NewReader(encoded)
	name := r.String()
	if err := r.Err(); err != nil {
		return nil, nil, fmt.Errorf("read key type: %w: %w", ErrMalformed, err)
	}
	if len(name) > maxTypeName {
		return nil, nil, fmt.Errorf("a key type with a name of %d bytes is %w", len(name), ErrUnsupported)
	}
	parse, certificate := lookup(string(name))
	if parse == nil {
		return nil, nil, fmt.Errorf("key type %q is %w", name, ErrUnsupported)
	}
	k = &Key{typ: string(name)}
	if certificate {
		err = k.parseCertified(slab, parse, &r)
	} else if k.priv, err = parse(slab, &r, nil); err == nil {
		k.plain = k.priv.plainBlob()
		k.public = k.plain
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s key: %w", k.typ, err)
	}
	return k, r.Rest(), nil
}

// parseCertified reads a certificate and the private half that follows it.
func (k *Key) parseCertified(slab *guard.Slab, parse parseFunc, r *wire.Reader) error {
	blob := r.String()
	if err := r.Err(); err != nil {
		return malformed(err)
	}
	c := wire.NewReader(blob)
	if name := c.String(); string(name) != k.typ {
		return fmt.Errorf("certificate of another type: %w", ErrMismatch)
	}
	c.String() // nonce
	priv, err := parse(slab, r, &c)
	if err != nil {
		return err
	}
	if err := skipCertificateBody(&c); err != nil {
		priv.free()
		return fmt.Errorf("certificate: %w", malformed(err))
	}
	k.priv, k.plain, k.public = priv, priv.plainBlob(), append([]byte(nil), blob...)
	return nil
}

// skipCertificateBody reads the part of a certificate after the public key
// (PROTOCOL.certkeys), to its end.
func skipCertificateBody(c *wire.Reader) error {
	c.Uint64() // serial
	c.Uint32() // type
	c.String() // key id
	c.String() // valid principals
	c.Uint64() // valid after
	c.Uint64() // valid before
	c.String() // critical options
	c.String() // extensions
	c.String() // reserved
	c.String() // signature key
	c.String() // signature
	return c.End()
}

func malformed(err error) error { return fmt.Errorf("%w: %w", ErrMalformed, err) }

// Type returns the name of the key type in Public, which may be a certificate's.
func (k *Key) Type() string { return k.typ }

// Public returns the public key blob (RFC 4253 section 6.6), or the certificate
// if the key has one. The caller must not change it.
func (k *Key) Public() []byte { return k.public }

// PlainPublic returns the public key blob, without certificate. The caller must
// not change it.
func (k *Key) PlainPublic() []byte { return k.plain }

// AppendSign appends a signature blob over data (string algorithm, string
// signature) to dst, which may be nil and must not overlap data. For RSA, flags
// choose the hash (SHA-256 if it is among several, as in OpenSSH); without one,
// AppendSign fails with ErrSHA1. After Free it fails with ErrFreed. If spareCore is set, an RSA
// signature computes its two halves in parallel, in a goroutine that ends before
// AppendSign returns.
func (k *Key) AppendSign(dst, data []byte, flags uint32, spareCore bool) ([]byte, error) {
	if flags&^(FlagSHA256|FlagSHA512|FlagSHA1) != 0 {
		return nil, ErrFlags
	}
	if !k.acquire() {
		return nil, ErrFreed
	}
	defer k.release()
	sig, err := k.priv.appendSignature(dst, data, flags, spareCore)
	if err != nil {
		return nil, fmt.Errorf("sign with %s key: %w", k.typ, err)
	}
	return sig, nil
}

// Free wipes the private half once the signatures in progress are done, without
// waiting for them. A second call and a call on nil do nothing. The public blobs
// stay.
func (k *Key) Free() {
	if k == nil {
		return
	}
	for {
		n := k.uses.Load()
		if n < 0 {
			return
		}
		if k.uses.CompareAndSwap(n, n+math.MinInt64) {
			if n == 0 {
				k.priv.free()
			}
			return
		}
	}
}

func (k *Key) acquire() bool {
	for {
		n := k.uses.Load()
		if n < 0 {
			return false
		}
		if k.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (k *Key) release() {
	if k.uses.Add(-1) == math.MinInt64 {
		k.priv.free()
	}
}
