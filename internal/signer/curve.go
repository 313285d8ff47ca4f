package signer

import (
	"crypto/sha256"
	"crypto/sha512"
	"sync"

	"filippo.io/nistec"

	"vigil/internal/keypair"
)

// curve is one of RFC 5656's required curves. nistec has a type for each; the
// methods choose between them with a switch, not through an interface, so that
// points stay on the stack.
type curve struct {
	*keypair.Curve
	cert    string // the type of its certificates
	topMask byte   // bits of a scalar's first byte that the order uses
	// orderMinus2 returns the order of the group minus 2.
	orderMinus2 func() []byte
}

var curves = [...]curve{
	newCurve("ecdsa-sha2-nistp256", 0xff),
	newCurve("ecdsa-sha2-nistp384", 0xff),
	newCurve("ecdsa-sha2-nistp521", 0x01),
}

func newCurve(typ string, topMask byte) curve {
	c := keypair.CurveOf(typ)
	return curve{
		Curve: c, cert: typ + "-cert-v01@openssh.com", topMask: topMask,
		orderMinus2: sync.OnceValue(func() []byte {
			order := c.Order()
			return order.Nat().SubOne(order).SubOne(order).Bytes(order)
		}),
	}
}

// digest appends the curve's hash of data to dst (RFC 5656 section 6.2.1).
func (c *curve) digest(dst, data []byte) []byte {
	switch c.Size {
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

// baseMultX writes the x-coordinate of scalar·G to out, and reports whether the
// point has one.
func (c *curve) baseMultX(out *[maxScalarSize]byte, scalar []byte) bool {
	switch c.Size {
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
