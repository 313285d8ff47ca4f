package keyfile

import (
	"bytes"
	"math/big"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

// newRSA makes a Key from the numbers that every format has.
func newRSA(k keypair.RSANumbers) (*Key, error) {
	return inSlab("RSA", func(slab *guard.Slab) (*Key, error) {
		pair, err := keypair.NewRSA(slab, k)
		if err != nil {
			return nil, err
		}
		defer pair.Free()
		if !pair.Works() {
			return nil, keypair.ErrMismatch
		}
		v := pair.Values()
		d := belowModulus(k.D, pair.N, v)
		defer guard.Wipe(d)

		blob := wire.AppendString(nil, typeRSA)
		blob = wire.AppendMpint(blob, k.E)
		blob = wire.AppendMpint(blob, pair.N)
		size := 4 + len(typeRSA)
		fields := [][]byte{pair.N, k.E, d, v.QInv, v.P, v.Q} // RFC 9987 section 3.2.6
		for _, f := range fields {
			size += mpintSize(f)
		}
		return newKey(slab, typeRSA, blob, size, func(b []byte) []byte {
			b = wire.AppendString(b, typeRSA)
			for _, f := range fields {
				b = wire.AppendMpint(b, f)
			}
			return b
		})
	})
}

// belowModulus returns a copy of d, or, if some tool has added a multiple of φ(n) to it,
// what is left without: programs that an exported key is for refuse a d above n.
func belowModulus(d, n []byte, v keypair.RSAValues) []byte {
	d = bytes.TrimLeft(d, "\x00")
	if len(d) < len(n) || len(d) == len(n) && bytes.Compare(d, n) < 0 {
		return bytes.Clone(d)
	}
	one := big.NewInt(1)
	x, p, q := new(big.Int).SetBytes(d), new(big.Int).SetBytes(v.P), new(big.Int).SetBytes(v.Q)
	phi := new(big.Int).Mul(p.Sub(p, one), q.Sub(q, one))
	defer wipeInts(x, p, q, phi)
	return x.Mod(x, phi).Bytes()
}

func wipeInts(ints ...*big.Int) {
	for _, i := range ints {
		if i != nil {
			clear(i.Bits())
		}
	}
}
