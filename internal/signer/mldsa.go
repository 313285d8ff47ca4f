package signer

import (
	"crypto/sha512"

	"filippo.io/mldsa"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

const (
	typeMLDSA = "ssh-mldsa44-ed25519@openssh.com"
	// typeMLDSARegistered is OpenSSH's name for the same type since 10.6.
	typeMLDSARegistered = "ssh-mldsa44-ed25519"
	certMLDSA           = "ssh-mldsa44-ed25519-cert-v01@openssh.com"
	certMLDSARegistered = "ssh-mldsa44-ed25519-cert"

	// compositeSigSize: the ML-DSA-44 part, then the Ed25519 part.
	compositeSigSize = mldsa.MLDSA44SignatureSize + ed25519SigSize

	// compositePrefix and compositeLabel are those of
	// draft-ietf-lamps-pq-composite-sigs for ML-DSA-44 with Ed25519.
	compositePrefix = "CompositeAlgorithmSignatures2025"
	compositeLabel  = "COMPSIG-MLDSA44-Ed25519-SHA512"
)

// mldsaKey is a composite ML-DSA-44 and Ed25519 key as in OpenSSH 10.4
// (draft-ietf-sshm-composite-sigs; ssh-mldsa-eddsa.c): two signatures over one
// message representative, of which both must verify.
type mldsaKey struct {
	*keypair.Composite
	typ string // of the plain key: typeMLDSA or typeMLDSARegistered
}

// parseMLDSA reads both public keys as one string (from the certificate, if there
// is one), and both seeds as another.
func parseMLDSA(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	return parseComposite(typeMLDSA, slab, r, cert)
}

// parseMLDSARegistered is parseMLDSA for the registered name.
func parseMLDSARegistered(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	return parseComposite(typeMLDSARegistered, slab, r, cert)
}

func parseComposite(typ string, slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	from := r
	if cert != nil {
		from = cert
	}
	pub := from.String()
	seeds := r.String()
	if from.Err() != nil {
		return nil, malformed(from.Err())
	}
	if r.Err() != nil {
		return nil, malformed(r.Err())
	}
	if len(pub) == 0 {
		return nil, ErrMalformed
	}
	pair, err := keypair.NewComposite(slab, seeds, pub)
	if err != nil {
		return nil, err
	}
	return &mldsaKey{Composite: pair, typ: typ}, nil
}

// representative returns what both parts sign for data, with an empty context:
// prefix ‖ label ‖ context length ‖ SHA-512(data).
func representative(data []byte) []byte {
	h := sha512.Sum512(data)
	m := make([]byte, 0, len(compositePrefix)+len(compositeLabel)+1+len(h))
	m = append(append(m, compositePrefix...), compositeLabel...)
	return append(append(m, 0), h[:]...)
}

func (k *mldsaKey) appendSignature(dst, data []byte, _ uint32, _ bool) ([]byte, error) {
	secret, m := k.Secret.Bytes(), representative(data)
	var sig [compositeSigSize]byte
	var failed error
	guard.Do(func() {
		key, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), secret[:mldsa.PrivateKeySize])
		if err != nil {
			failed = err
			return
		}
		s, err := key.Sign(nil, m, &mldsa.Options{Context: compositeLabel})
		copy(sig[:], s)
		failed = err
	})
	if failed != nil {
		return nil, failed
	}
	public := [keypair.PointSize]byte(k.Public[mldsa.MLDSA44PublicKeySize:])
	classical := (*[ed25519SigSize]byte)(sig[mldsa.MLDSA44SignatureSize:])
	if err := signEd25519(classical, secret[mldsa.PrivateKeySize:], &public, m); err != nil {
		return nil, err
	}
	return appendSignatureBlob(dst, k.typ, sig[:]), nil
}

func (k *mldsaKey) plainBlob() []byte {
	return wire.AppendString(wire.AppendString(nil, k.typ), k.Public)
}

func (k *mldsaKey) free() { k.Free() }
