package signer

import (
	"bytes"
	"crypto/sha512"
	"crypto/subtle"

	"filippo.io/edwards25519"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

const (
	typeEd25519 = "ssh-ed25519"
	certEd25519 = "ssh-ed25519-cert-v01@openssh.com"

	ed25519SigSize = 64
)

// ed25519Key is an expanded Ed25519 key. It doesn't sign with crypto/ed25519, which
// caches what it derives from a key behind a weak pointer to the key: for a key in
// guarded memory, that crashes the process.
type ed25519Key struct{ *keypair.Ed25519 }

// parseEd25519 reads public key and seed ‖ public key (RFC 8709 section 4's blob,
// RFC 9987 section 3.2.3), which a certificate's key repeats.
func parseEd25519(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	pub, sec := r.String(), r.String()
	if err := r.Err(); err != nil {
		return nil, malformed(err)
	}
	if len(sec) != keypair.SeedSize+keypair.PointSize {
		return nil, ErrMalformed
	}
	if !bytes.Equal(pub, sec[keypair.SeedSize:]) {
		return nil, ErrMismatch
	}
	if cert != nil {
		certified := cert.String()
		if err := cert.Err(); err != nil {
			return nil, malformed(err)
		}
		if !bytes.Equal(pub, certified) {
			return nil, ErrMismatch
		}
	}
	pair, err := keypair.NewEd25519(slab, sec[:keypair.SeedSize], pub)
	if err != nil {
		return nil, err
	}
	return &ed25519Key{pair}, nil
}

// signEd25519 writes the signature of data into sig (RFC 8032 section 5.1.6). It
// allocates nothing. It wipes its own variables, because Do doesn't erase on every
// platform.
func signEd25519(sig *[ed25519SigSize]byte, expanded []byte, public *[keypair.PointSize]byte, data []byte) error {
	var failed error
	guard.Do(func() {
		var digest [sha512.Size]byte
		var r, s, k edwards25519.Scalar
		var point edwards25519.Point

		h := sha512.New()
		h.Write(expanded[32:])
		h.Write(data)
		h.Sum(digest[:0])
		h.Reset()
		if _, err := r.SetUniformBytes(digest[:]); err != nil {
			failed = err
			return
		}
		copy(sig[:], point.ScalarBaseMult(&r).Bytes())

		h.Write(sig[:32])
		h.Write(public[:])
		h.Write(data)
		h.Sum(digest[:0])
		if _, err := k.SetUniformBytes(digest[:]); err != nil {
			failed = err
			return
		}
		if _, err := s.SetCanonicalBytes(expanded[:32]); err != nil {
			failed = err
			return
		}
		copy(sig[32:], s.MultiplyAdd(&k, &s, &r).Bytes())

		// With a key wiped in the meantime, anyone could compute the nonce.
		var wiped [32]byte
		if subtle.ConstantTimeCompare(expanded[32:], wiped[:]) == 1 {
			clear(sig[:])
			failed = ErrFreed
		}
		clear(digest[:])
		r, s, point = edwards25519.Scalar{}, edwards25519.Scalar{}, edwards25519.Point{}
	})
	return failed
}

func (k *ed25519Key) appendSignature(dst, data []byte, _ uint32, _ bool) ([]byte, error) {
	var sig [ed25519SigSize]byte
	if err := signEd25519(&sig, k.Expanded.Bytes(), &k.Public, data); err != nil {
		return nil, err
	}
	return appendSignatureBlob(dst, typeEd25519, sig[:]), nil
}

func (k *ed25519Key) plainBlob() []byte {
	b := make([]byte, 0, 4+len(typeEd25519)+4+keypair.PointSize)
	return wire.AppendString(wire.AppendString(b, typeEd25519), k.Public[:])
}

func (k *ed25519Key) free() { k.Free() }

// appendSignatureBlob appends string algorithm, string signature (RFC 4253
// section 6.6).
func appendSignatureBlob(dst []byte, algorithm string, sig []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, 4+len(algorithm)+4+len(sig))
	}
	return wire.AppendString(wire.AppendString(dst, algorithm), sig)
}
