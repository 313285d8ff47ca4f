package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/subtle"
	"errors"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

const (
	typeEd25519 = "ssh-ed25519"
	typeRSA     = "ssh-rsa"

	// OpenSSH 10.4 and 10.5 know ML-DSA-44 with Ed25519
	// (draft-ietf-sshm-composite-sigs) only by the first name, 10.6 only by the
	// second. Keys and signatures are the same except for the name in them.
	typeCompositeOpenSSH = "ssh-mldsa44-ed25519@openssh.com"
	typeComposite        = "ssh-mldsa44-ed25519"
)

func isComposite(typ string) bool { return typ == typeComposite || typ == typeCompositeOpenSSH }

// readIdentity reads a private key in the encoding that SSH_AGENTC_ADD_IDENTITY
// and OpenSSH's files share: type and fields (RFC 9987 section 3.2). It leaves
// in r what follows the key.
func readIdentity(r *wire.Reader) (*Key, error) {
	typ := r.String()
	if r.Err() != nil {
		return nil, damaged("no key type")
	}
	if err := unsupportedType(typ); err != nil {
		return nil, err
	}
	switch t := string(typ); {
	case t == typeEd25519:
		public, private := r.String(), r.String()
		if r.Err() != nil || len(private) != ed25519.PrivateKeySize {
			return nil, damaged("Ed25519 key")
		}
		if !bytes.Equal(private[ed25519.SeedSize:], public) {
			return nil, fmt.Errorf("check Ed25519 key: %w", ErrMismatch)
		}
		return newEd25519(private[:ed25519.SeedSize], public)
	case isComposite(t):
		public, seeds := r.String(), r.String()
		if r.Err() != nil {
			return nil, damaged("ML-DSA-44 and Ed25519 key")
		}
		return newComposite(t, seeds, public)
	case keypair.IsToken(t):
		n, err := keypair.ReadToken(r, t)
		if err != nil {
			return nil, damaged("security key's key")
		}
		return newToken(n)
	case t == typeRSA:
		k := keypair.RSANumbers{N: r.Mpint(), E: r.Mpint(), D: r.Mpint(), QInv: r.Mpint(), P: r.Mpint(), Q: r.Mpint()}
		if r.Err() != nil {
			return nil, damagedNumber("RSA key", r.Err())
		}
		return newRSA(k)
	default:
		c := keypair.CurveOf(t)
		name, point, scalar := r.String(), r.String(), r.Mpint()
		if r.Err() != nil {
			return nil, damagedNumber("ECDSA key", r.Err())
		}
		if string(name) != c.Name || len(point) == 0 || point[0] != uncompressed {
			return nil, damaged("ECDSA key")
		}
		return newECDSA(c, scalar, point)
	}
}

// checkPublic returns why a key with this public half is not supported, or nil.
func checkPublic(blob []byte) error {
	typ := pubkey.Type(blob)
	if typ == "" {
		return damaged("public key")
	}
	if err := unsupportedType([]byte(typ)); err != nil {
		return err
	}
	if typ == typeRSA {
		_, n, err := readRSAPublic(blob)
		if err != nil {
			return damagedNumber("public key", err)
		}
		if len(n) == 0 {
			return damaged("the RSA modulus is missing")
		}
		return keypair.CheckRSABits(pubkey.Bits(blob))
	}
	return nil
}

// readRSAPublic reads the exponent and the modulus of an RSA key's public half.
func readRSAPublic(blob []byte) (e, n []byte, err error) {
	r := wire.NewReader(blob)
	r.String() // the type
	e, n = r.Mpint(), r.Mpint()
	return e, n, r.End()
}

// samePublic reports whether two public halves are of one key: the bytes are the same,
// or RSA's numbers are.
func samePublic(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if pubkey.Type(a) != typeRSA || pubkey.Type(b) != typeRSA {
		return false
	}
	e, n, err := readRSAPublic(a)
	e2, n2, err2 := readRSAPublic(b)
	return err == nil && err2 == nil && bytes.Equal(e, e2) && bytes.Equal(n, n2)
}

// newEd25519 makes a Key from a seed; public is the public half in the file, or nil
// if the file has none.
func newEd25519(seed, public []byte) (*Key, error) {
	return inSlab("Ed25519", func(slab *guard.Slab) (*Key, error) {
		pair, err := keypair.NewEd25519(slab, seed, public)
		if err != nil {
			return nil, err
		}
		defer pair.Free()
		blob := wire.AppendString(wire.AppendString(nil, typeEd25519), pair.Public[:])
		const size = keypair.SeedSize + keypair.PointSize
		return newKey(slab, typeEd25519, blob, len(blob)+4+size, func(b []byte) []byte {
			b = wire.AppendUint32(append(b, blob...), size)
			return append(append(b, seed...), pair.Public[:]...)
		})
	})
}

// uncompressed begins an uncompressed point (SEC 1 section 2.3.3), the only form in
// SSH's formats.
const uncompressed = 4

// newECDSA makes a Key from a big-endian scalar; point is the public half in the
// file, compressed or not, or nil.
func newECDSA(c *keypair.Curve, scalar, point []byte) (*Key, error) {
	return inSlab("ECDSA", func(slab *guard.Slab) (*Key, error) {
		pair, err := keypair.NewECDSA(slab, c, scalar, nil)
		if err != nil {
			return nil, err
		}
		defer pair.Free()
		if point != nil && !samePoint(pair.Point, point) {
			return nil, keypair.ErrMismatch
		}
		blob := wire.AppendString(nil, c.Type)
		blob = wire.AppendString(blob, c.Name)
		blob = wire.AppendString(blob, pair.Point)
		d := pair.Scalar.Bytes()
		return newKey(slab, c.Type, blob, len(blob)+mpintSize(d), func(b []byte) []byte {
			return wire.AppendMpint(append(b, blob...), d)
		})
	})
}

// samePoint reports whether point is the uncompressed point q, in either form.
func samePoint(q, point []byte) bool {
	if len(point) == 0 {
		return false
	}
	if point[0] == uncompressed {
		return bytes.Equal(q, point)
	}
	x := q[1 : 1+len(q)/2]
	sign := 2 + q[len(q)-1]&1
	return point[0] == sign && bytes.Equal(point[1:], x)
}

// newComposite makes a Key from the seeds of ML-DSA-44 and Ed25519, 32 bytes each;
// public holds both public keys, 1,312 and 32 bytes, or is nil.
func newComposite(typ string, seeds, public []byte) (*Key, error) {
	return inSlab("ML-DSA-44 and Ed25519", func(slab *guard.Slab) (*Key, error) {
		pair, err := keypair.NewComposite(slab, seeds, public)
		if err != nil {
			return nil, err
		}
		defer pair.Free()
		blob := wire.AppendString(wire.AppendString(nil, typ), pair.Public)
		return newKey(slab, typ, blob, len(blob)+4+len(seeds), func(b []byte) []byte {
			return wire.AppendString(append(b, blob...), seeds)
		})
	})
}

// newToken makes a Key of what there is of one in a security key.
func newToken(n keypair.TokenNumbers) (*Key, error) {
	return inSlab("security key's", func(slab *guard.Slab) (*Key, error) {
		t, err := keypair.NewToken(slab, n)
		if err != nil {
			return nil, err
		}
		defer t.Free()
		encoding := t.Encoding.Bytes()
		return newKey(slab, t.Type, t.Blob, len(encoding), func(b []byte) []byte { return append(b, encoding...) })
	})
}

// slabSize is guarded memory for the numbers of the largest key and its encoding.
const slabSize = 16 << 10

// inSlab has build make a Key of type what in a slab of its own, and says what package
// keypair's errors mean for a file.
func inSlab(what string, build func(*guard.Slab) (*Key, error)) (*Key, error) {
	slab, err := guard.NewSlab(slabSize)
	if err != nil {
		return nil, fmt.Errorf("hold private key: %w", err)
	}
	k, err := build(slab)
	if err == nil {
		return k, nil
	}
	_ = slab.Close() // the error that matters is err
	switch {
	case errors.Is(err, keypair.ErrMalformed):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case errors.Is(err, keypair.ErrMismatch):
		return nil, fmt.Errorf("check %s key: %w", what, err)
	}
	return nil, err
}

// newKey makes a Key that owns slab. Its encoding, of size bytes, is appended by write.
func newKey(slab *guard.Slab, typ string, public []byte, size int, write func([]byte) []byte) (*Key, error) {
	secret, err := slab.Alloc(size)
	if err != nil {
		return nil, fmt.Errorf("hold private key: %w", err)
	}
	room := secret.Bytes()
	if written := write(room[:0]); len(written) != size || &written[0] != &room[0] {
		// A wrong size would have moved the key to the heap.
		guard.Wipe(written)
		return nil, fmt.Errorf("encode %s key: %d bytes, not %d", typ, len(written), size)
	}
	return &Key{typ: typ, public: public, slab: slab, secret: secret}, nil
}

// mpintSize returns the length AppendMpint adds for the magnitude m.
func mpintSize(m []byte) int {
	for len(m) > 0 && m[0] == 0 {
		m = m[1:]
	}
	if len(m) > 0 && m[0]&0x80 != 0 {
		return 4 + 1 + len(m)
	}
	return 4 + len(m)
}

// sameSecret reports whether a and b are equal, in constant time.
func sameSecret(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
