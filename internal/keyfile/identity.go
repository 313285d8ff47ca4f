package keyfile

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/subtle"
	"fmt"

	"filippo.io/mldsa"

	"vigil/internal/guard"
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

// A curve is one of the three NIST curves of RFC 5656 section 10.1.
type curve struct {
	keyType string
	name    string // as the identity names it
	size    int    // bytes of a scalar and of a coordinate
	ecdh    ecdh.Curve
}

var curves = [...]curve{
	{"ecdsa-sha2-nistp256", "nistp256", 32, ecdh.P256()},
	{"ecdsa-sha2-nistp384", "nistp384", 48, ecdh.P384()},
	{"ecdsa-sha2-nistp521", "nistp521", 66, ecdh.P521()},
}

func curveByType(keyType string) *curve {
	for i := range curves {
		if curves[i].keyType == keyType {
			return &curves[i]
		}
	}
	return nil
}

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
	case t == typeRSA:
		var k rsaNumbers
		k.n, k.e, k.d = r.Mpint(), r.Mpint(), r.Mpint()
		r.Mpint() // iqmp: computed again
		k.p, k.q = r.Mpint(), r.Mpint()
		if r.Err() != nil {
			return nil, damaged("RSA key")
		}
		return newRSA(k)
	default:
		c := curveByType(t)
		name, point, scalar := r.String(), r.String(), r.Mpint()
		if r.Err() != nil || string(name) != c.name || len(point) == 0 {
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
		return checkRSABits(pubkey.Bits(blob))
	}
	return nil
}

// newEd25519 makes a Key from a seed; public is the public half in the file, or nil
// if the file has none.
func newEd25519(seed, public []byte) (*Key, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, damaged("Ed25519 seed")
	}
	private := ed25519.NewKeyFromSeed(seed)
	defer guard.Wipe(private)
	pub := []byte(private[ed25519.SeedSize:])
	if public != nil && !bytes.Equal(pub, public) {
		return nil, fmt.Errorf("check Ed25519 key: %w", ErrMismatch)
	}
	blob := wire.AppendString(wire.AppendString(nil, typeEd25519), pub)
	return newKey(typeEd25519, blob, len(blob)+4+len(private), func(b []byte) []byte {
		return wire.AppendString(append(b, blob...), private)
	})
}

// newECDSA makes a Key from a big-endian scalar; point is the public half in the
// file, compressed or not (SEC 1 section 2.3.3), or nil.
func newECDSA(c *curve, scalar, point []byte) (*Key, error) {
	for len(scalar) > 0 && scalar[0] == 0 {
		scalar = scalar[1:]
	}
	if len(scalar) > c.size {
		return nil, damaged("ECDSA scalar")
	}
	padded := make([]byte, c.size)
	defer guard.Wipe(padded)
	copy(padded[c.size-len(scalar):], scalar)
	private, err := c.ecdh.NewPrivateKey(padded)
	if err != nil { // zero, or not below the group's order
		return nil, damaged("ECDSA scalar")
	}
	q := private.PublicKey().Bytes()
	if point != nil && !samePoint(q, point) {
		return nil, fmt.Errorf("check ECDSA key: %w", ErrMismatch)
	}
	blob := wire.AppendString(nil, c.keyType)
	blob = wire.AppendString(blob, c.name)
	blob = wire.AppendString(blob, q)
	return newKey(c.keyType, blob, len(blob)+mpintSize(scalar), func(b []byte) []byte {
		return wire.AppendMpint(append(b, blob...), scalar)
	})
}

// samePoint reports whether point is the uncompressed point q, in either form.
func samePoint(q, point []byte) bool {
	if len(point) == 0 {
		return false
	}
	if point[0] == 4 {
		return bytes.Equal(q, point)
	}
	x := q[1 : 1+len(q)/2]
	sign := 2 + q[len(q)-1]&1
	return point[0] == sign && bytes.Equal(point[1:], x)
}

// newComposite makes a Key from the seeds of ML-DSA-44 and Ed25519, 32 bytes each;
// public holds both public keys, 1,312 and 32 bytes.
func newComposite(typ string, seeds, public []byte) (*Key, error) {
	if len(seeds) != mldsa.PrivateKeySize+ed25519.SeedSize {
		return nil, damaged("ML-DSA-44 and Ed25519 seeds")
	}
	pq, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seeds[:mldsa.PrivateKeySize])
	if err != nil {
		return nil, damaged("ML-DSA-44 seed")
	}
	classic := ed25519.NewKeyFromSeed(seeds[mldsa.PrivateKeySize:])
	defer guard.Wipe(classic)
	pub := append(pq.PublicKey().Bytes(), classic[ed25519.SeedSize:]...)
	if public != nil && !bytes.Equal(pub, public) {
		return nil, fmt.Errorf("check ML-DSA-44 and Ed25519 key: %w", ErrMismatch)
	}
	blob := wire.AppendString(wire.AppendString(nil, typ), pub)
	return newKey(typ, blob, len(blob)+4+len(seeds), func(b []byte) []byte {
		return wire.AppendString(append(b, blob...), seeds)
	})
}

// newKey makes a Key whose encoding, of size bytes, is appended by write.
func newKey(typ string, public []byte, size int, write func([]byte) []byte) (*Key, error) {
	slab, err := guard.NewSlab(size)
	if err != nil {
		return nil, fmt.Errorf("hold private key: %w", err)
	}
	secret, err := slab.Alloc(size)
	if err != nil {
		_ = slab.Close()
		return nil, fmt.Errorf("hold private key: %w", err)
	}
	room := secret.Bytes()
	if written := write(room[:0]); len(written) != size || &written[0] != &room[0] {
		// A wrong size would have moved the key to the heap.
		guard.Wipe(written)
		_ = slab.Close()
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
