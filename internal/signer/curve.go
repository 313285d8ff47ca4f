package signer

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"sync"

	"filippo.io/bigmod"
	"filippo.io/nistec"
)

// curve is one of RFC 5656's required curves. nistec has a type for each; the
// methods choose between them with a switch, not through an interface, so that
// points stay on the stack.
type curve struct {
	typ, cert, id string
	size          int  // bytes of a scalar or coordinate
	topMask       byte // bits of a scalar's first byte that the order uses
	group         func() *group
}

// group is the order of a curve's group, the modulus of its scalars.
type group struct {
	order       *bigmod.Modulus
	orderMinus2 []byte
}

var curves = [...]curve{
	{
		typ: "ecdsa-sha2-nistp256", cert: "ecdsa-sha2-nistp256-cert-v01@openssh.com",
		id: "nistp256", size: 32, topMask: 0xff,
		group: newGroup("\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff" +
			"\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"),
	},
	{
		typ: "ecdsa-sha2-nistp384", cert: "ecdsa-sha2-nistp384-cert-v01@openssh.com",
		id: "nistp384", size: 48, topMask: 0xff,
		group: newGroup("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
			"\xff\xff\xff\xff\xff\xff\xff\xff\xc7\x63\x4d\x81\xf4\x37\x2d\xdf" +
			"\x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\xec\xec\x19\x6a\xcc\xc5\x29\x73"),
	},
	{
		typ: "ecdsa-sha2-nistp521", cert: "ecdsa-sha2-nistp521-cert-v01@openssh.com",
		id: "nistp521", size: 66, topMask: 0x01,
		group: newGroup("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
			"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfa" +
			"\x51\x86\x87\x83\xbf\x2f\x96\x6b\x7f\xcc\x01\x48\xf7\x09\xa5\xd0" +
			"\x3b\xb5\xc9\xb8\x89\x9c\x47\xae\xbb\x6f\xb7\x1e\x91\x38\x64\x09"),
	},
}

// newGroup returns a function that makes a group from its order at its first call
// (SP 800-186 section 3.2.1).
func newGroup(order string) func() *group {
	return sync.OnceValue(func() *group {
		m, err := bigmod.NewModulus([]byte(order))
		if err != nil {
			panic("signer: " + err.Error()) // a constant
		}
		minus2 := []byte(order)
		minus2[len(minus2)-1] -= 2 // the last byte of every order is larger than 2
		return &group{order: m, orderMinus2: minus2}
	})
}

// digest appends the curve's hash of data to dst (RFC 5656 section 6.2.1).
func (c *curve) digest(dst, data []byte) []byte {
	switch c.size {
	case 32:
		h := sha256.Sum256(data)
		return append(dst, h[:]...)
	case 48:
		h := sha512.Sum384(data)
		return append(dst, h[:]...)
	default:
		h := sha512.Sum512(data)
		return append(dst, h[:]...)
	}
}

// isBaseMult reports whether point is the uncompressed form of scalar·G.
func (c *curve) isBaseMult(scalar, point []byte) bool {
	switch c.size {
	case 32:
		p, err := nistec.NewP256Point().ScalarBaseMult(scalar)
		return err == nil && bytes.Equal(p.Bytes(), point)
	case 48:
		p, err := nistec.NewP384Point().ScalarBaseMult(scalar)
		return err == nil && bytes.Equal(p.Bytes(), point)
	default:
		p, err := nistec.NewP521Point().ScalarBaseMult(scalar)
		return err == nil && bytes.Equal(p.Bytes(), point)
	}
}

// baseMultX writes the x-coordinate of scalar·G to out, and reports whether the
// point has one.
func (c *curve) baseMultX(out *[maxScalarSize]byte, scalar []byte) bool {
	switch c.size {
	case 32:
		p, err := nistec.NewP256Point().ScalarBaseMult(scalar)
		if err != nil {
			return false
		}
		x, err := p.BytesX()
		copy(out[:], x)
		return err == nil
	case 48:
		p, err := nistec.NewP384Point().ScalarBaseMult(scalar)
		if err != nil {
			return false
		}
		x, err := p.BytesX()
		copy(out[:], x)
		return err == nil
	default:
		p, err := nistec.NewP521Point().ScalarBaseMult(scalar)
		if err != nil {
			return false
		}
		x, err := p.BytesX()
		copy(out[:], x)
		return err == nil
	}
}
