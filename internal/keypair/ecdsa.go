package keypair

import (
	"bytes"
	"fmt"
	"sync"

	"filippo.io/bigmod"
	"filippo.io/nistec"

	"vigil/internal/guard"
)

// maxSize is the size of P-521's scalars and coordinates, in bytes.
const maxSize = 66

// Curve is one of the NIST curves with which SSH signs (RFC 5656 section 10.1).
type Curve struct {
	Type string // of a key: "ecdsa-sha2-nistp256"
	Name string // inside a key: "nistp256"
	Size int    // bytes of a scalar or a coordinate

	order func() *bigmod.Modulus
}

// Curves are all of them: P-256, P-384, P-521. Nobody changes them.
var Curves = [...]*Curve{
	{
		Type: "ecdsa-sha2-nistp256", Name: "nistp256", Size: 32,
		order: constant("\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff" +
			"\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"),
	},
	{
		Type: "ecdsa-sha2-nistp384", Name: "nistp384", Size: 48,
		order: constant("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
			"\xff\xff\xff\xff\xff\xff\xff\xff\xc7\x63\x4d\x81\xf4\x37\x2d\xdf" +
			"\x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\xec\xec\x19\x6a\xcc\xc5\x29\x73"),
	},
	{
		Type: "ecdsa-sha2-nistp521", Name: "nistp521", Size: 66,
		order: constant("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
			"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfa" +
			"\x51\x86\x87\x83\xbf\x2f\x96\x6b\x7f\xcc\x01\x48\xf7\x09\xa5\xd0" +
			"\x3b\xb5\xc9\xb8\x89\x9c\x47\xae\xbb\x6f\xb7\x1e\x91\x38\x64\x09"),
	},
}

// constant returns a function that makes a modulus at its first call.
func constant(m string) func() *bigmod.Modulus {
	return sync.OnceValue(func() *bigmod.Modulus {
		modulus, err := bigmod.NewModulus([]byte(m))
		if err != nil {
			panic("keypair: " + err.Error()) // a constant
		}
		return modulus
	})
}

// CurveOf returns the curve of a key type, or nil.
func CurveOf(keyType string) *Curve {
	for _, c := range Curves {
		if c.Type == keyType {
			return c
		}
	}
	return nil
}

// Order returns the order of the curve's group (SP 800-186 section 3.2.1).
func (c *Curve) Order() *bigmod.Modulus { return c.order() }

// ECDSA is an ECDSA key whose scalar and point belong together. It owns guarded
// memory until Free.
type ECDSA struct {
	Curve  *Curve
	Point  []byte        // uncompressed (SEC 1 section 2.3.3)
	Scalar *guard.Buffer // big-endian, Curve.Size bytes
}

// NewECDSA copies the scalar, big-endian, into slab. point is the public half,
// uncompressed, or nil if there is none to compare with. NewECDSA fails with
// ErrMalformed, ErrMismatch or an error of the slab.
func NewECDSA(slab *guard.Slab, c *Curve, scalar, point []byte) (*ECDSA, error) {
	d := trim(scalar)
	if len(d) > c.Size {
		return nil, fmt.Errorf("%w: the ECDSA scalar is too long", ErrMalformed)
	}
	k := &ECDSA{Curve: c}
	var err error
	if k.Scalar, err = slab.Alloc(c.Size); err != nil {
		return nil, err
	}
	padded := k.Scalar.Bytes()
	guard.Copy(padded[c.Size-len(d):], d)
	var q [1 + 2*maxSize]byte
	size := 0
	guard.Do(func() {
		n, err := bigmod.NewNat().SetBytes(padded, c.Order())
		if err == nil && n.IsZero() == 0 {
			size = copy(q[:], c.baseMult(padded))
		}
	})
	k.Point = bytes.Clone(q[:size])
	switch {
	case size == 0:
		err = fmt.Errorf("%w: the ECDSA scalar is zero, or not below the group's order", ErrMalformed)
	case point != nil && !bytes.Equal(k.Point, point):
		err = ErrMismatch // this also shows that the point is on the curve
	}
	if err != nil {
		k.Free()
		return nil, err
	}
	return k, nil
}

// Free wipes the scalar.
func (k *ECDSA) Free() { k.Scalar.Free() }

// baseMult returns the uncompressed form of scalar·G, or nil.
func (c *Curve) baseMult(scalar []byte) []byte {
	switch c.Size {
	case 32:
		if p, err := nistec.NewP256Point().ScalarBaseMult(scalar); err == nil {
			return p.Bytes()
		}
	case 48:
		if p, err := nistec.NewP384Point().ScalarBaseMult(scalar); err == nil {
			return p.Bytes()
		}
	default:
		if p, err := nistec.NewP521Point().ScalarBaseMult(scalar); err == nil {
			return p.Bytes()
		}
	}
	return nil
}
