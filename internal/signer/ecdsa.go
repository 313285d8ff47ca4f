package signer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // for curve.hash
	_ "crypto/sha512" // for curve.hash
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

// curve is one of RFC 5656's required curves.
type curve struct {
	typ, cert, id string
	curve         elliptic.Curve
	size          int         // bytes of a scalar or coordinate
	hash          crypto.Hash // RFC 5656 section 6.2.1
}

var curves = [...]curve{
	{
		typ: "ecdsa-sha2-nistp256", cert: "ecdsa-sha2-nistp256-cert-v01@openssh.com",
		id: "nistp256", curve: elliptic.P256(), size: 32, hash: crypto.SHA256,
	},
	{
		typ: "ecdsa-sha2-nistp384", cert: "ecdsa-sha2-nistp384-cert-v01@openssh.com",
		id: "nistp384", curve: elliptic.P384(), size: 48, hash: crypto.SHA384,
	},
	{
		typ: "ecdsa-sha2-nistp521", cert: "ecdsa-sha2-nistp521-cert-v01@openssh.com",
		id: "nistp521", curve: elliptic.P521(), size: 66, hash: crypto.SHA512,
	},
}

// ecdsaKey is an ECDSA key.
type ecdsaKey struct {
	curve  *curve
	scalar *guard.Buffer // big-endian, curve.size bytes
	point  []byte        // uncompressed
	// public is point, decoded once: from D alone the library would compute it
	// again for every signature.
	public ecdsa.PublicKey
}

// parse reads curve and point (a certificate has them instead), and the scalar
// (RFC 9987 section 3.2.2).
func (c *curve) parse(slab *guard.Slab, r, cert *wire.Reader) (private, error) {
	from := r
	if cert != nil {
		from = cert
	}
	id, point := from.String(), from.String()
	d := r.Mpint()
	if from.Err() != nil {
		return nil, malformed(from.Err())
	}
	if r.Err() != nil {
		return nil, malformed(r.Err())
	}
	if string(id) != c.id || len(d) == 0 || len(d) > c.size {
		return nil, ErrMalformed
	}
	public, err := ecdsa.ParseUncompressedPublicKey(c.curve, point)
	if err != nil {
		return nil, ErrMalformed // not on the curve, or compressed
	}
	buf, err := slab.Alloc(c.size)
	if err != nil {
		return nil, err
	}
	scalar := buf.Bytes()
	copy(scalar[c.size-len(d):], d)
	var valid, same bool
	guard.Do(func() {
		priv, err := ecdsa.ParseRawPrivateKey(c.curve, scalar) // 0 < d < n, and d·G
		if valid = err == nil; valid {
			same = priv.PublicKey.Equal(public)
		}
	})
	if !valid || !same {
		buf.Free()
		if !valid {
			return nil, ErrMalformed
		}
		return nil, ErrMismatch
	}
	return &ecdsaKey{curve: c, scalar: buf, point: bytes.Clone(point), public: *public}, nil
}

func (k *ecdsaKey) appendSignature(dst, data []byte, _ uint32, _ bool) ([]byte, error) {
	h := k.curve.hash.New()
	h.Write(data)
	digest := h.Sum(nil)

	// Allocated outside of Do, as it leaves.
	der := make([]byte, 0, 2*k.curve.size+16)
	var failed error
	guard.Do(func() {
		//lint:ignore SA1019 ParseRawPrivateKey would compute the public point again, 15 µs.
		priv := ecdsa.PrivateKey{PublicKey: k.public, D: new(big.Int).SetBytes(k.scalar.Bytes())}
		sig, err := ecdsa.SignASN1(rand.Reader, &priv, digest)
		der, failed = append(der, sig...), err
	})
	if failed != nil {
		return nil, failed
	}
	var r, s []byte
	seq, in := cryptobyte.String(der), cryptobyte.String(nil)
	if !seq.ReadASN1(&in, asn1.SEQUENCE) || !in.ReadASN1Integer(&r) || !in.ReadASN1Integer(&s) {
		return nil, ErrFault
	}
	// RFC 5656 section 3.1.2: the signature is two mpints in a string.
	rs := make([]byte, 0, 2*(4+1+k.curve.size))
	rs = wire.AppendMpint(wire.AppendMpint(rs, r), s)
	return appendSignatureBlob(dst, k.curve.typ, rs), nil
}

func (k *ecdsaKey) plainBlob() []byte {
	b := wire.AppendString(nil, k.curve.typ)
	return wire.AppendString(wire.AppendString(b, k.curve.id), k.point)
}

func (k *ecdsaKey) free() { k.scalar.Free() }
