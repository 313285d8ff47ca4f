package residue

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"

	"filippo.io/mldsa"

	"vigil/internal/wire"
)

// secretKey is a private key that the test knows.
type secretKey struct {
	name     string
	typ      string
	encoding []byte // as in SSH_AGENTC_ADD_IDENTITY
	public   []byte // blob

	ed25519 ed25519.PrivateKey // of an Ed25519 key, or the composite key's half
	mldsa   []byte             // the composite key's ML-DSA seed
	ecdsa   *ecdsa.PrivateKey
	rsa     *rsa.PrivateKey
}

// readKey reads a private key into the standard library's types.
func readKey(name string, encoding []byte) (*secretKey, error) {
	k := &secretKey{name: name, encoding: encoding}
	r := wire.NewReader(encoding)
	k.typ = string(r.String())
	blob := wire.AppendString(nil, k.typ)
	switch {
	case k.typ == "ssh-ed25519":
		blob = wire.AppendString(blob, r.String())
		k.ed25519 = bytes.Clone(r.String())
	case strings.HasPrefix(k.typ, "ssh-mldsa44-ed25519"):
		blob = wire.AppendString(blob, r.String())
		seeds := r.String()
		if len(seeds) != 64 {
			return nil, fmt.Errorf("read key %s: seeds of %d bytes", name, len(seeds))
		}
		k.mldsa = bytes.Clone(seeds[:32])
		k.ed25519 = ed25519.NewKeyFromSeed(seeds[32:])
	case k.typ == "ssh-rsa":
		n, e, d, _, p, q := r.Mpint(), r.Mpint(), r.Mpint(), r.Mpint(), r.Mpint(), r.Mpint()
		blob = wire.AppendMpint(wire.AppendMpint(blob, e), n)
		k.rsa = &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: number(n), E: int(number(e).Int64())},
			D:         number(d), Primes: []*big.Int{number(p), number(q)},
		}
		k.rsa.Precompute()
	case strings.HasPrefix(k.typ, "ecdsa-sha2-nistp"):
		curve := r.String()
		point := r.String()
		blob = wire.AppendString(wire.AppendString(blob, string(curve)), point)
		c := map[string]elliptic.Curve{"nistp256": elliptic.P256(), "nistp384": elliptic.P384(), "nistp521": elliptic.P521()}[string(curve)]
		if c == nil {
			return nil, fmt.Errorf("read key %s: curve %q", name, curve)
		}
		scalar := number(r.Mpint()).FillBytes(make([]byte, (c.Params().BitSize+7)/8))
		var err error
		if k.ecdsa, err = ecdsa.ParseRawPrivateKey(c, scalar); err != nil {
			return nil, fmt.Errorf("read key %s: %w", name, err)
		}
	default:
		return nil, fmt.Errorf("read key %s: type %q", name, k.typ)
	}
	if r.Err() != nil {
		return nil, fmt.Errorf("read key %s: %w", name, r.Err())
	}
	k.public = blob
	return k, nil
}

func number(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

// list collects forms under names that begin alike.
type list struct {
	of    string
	forms []form
}

// bytes adds bytes as they are.
func (l *list) bytes(name string, b []byte) {
	l.forms = append(l.forms, form{name: l.of + ": " + name, bytes: bytes.Clone(b)})
}

// text adds bytes as files and logs have them: hexadecimal, and base64 at each
// of the three places where it may begin.
func (l *list) text(name string, b []byte) {
	l.bytes(name+" in hexadecimal", []byte(hex.EncodeToString(b)))
	for shift := range 3 {
		whole := base64.StdEncoding.EncodeToString(append(make([]byte, shift), b...))
		l.bytes(fmt.Sprintf("%s in base64, %d bytes in", name, shift), []byte(whole)[4:len(whole)/4*4-4])
	}
}

// number adds a number in both byte orders; little-endian is also how 64-bit
// limbs lie in memory.
func (l *list) number(name string, v *big.Int, size int) {
	be := v.FillBytes(make([]byte, size))
	le := bytes.Clone(be)
	slices.Reverse(le)
	l.bytes(name, be)
	l.bytes(name+", little-endian", le)
}

// modular adds a number modulo n, also as Montgomery arithmetic has it.
func (l *list) modular(name string, v, n *big.Int, size int) {
	l.number(name, v, size)
	l.number(name+" in Montgomery form", montgomery(v, n), size)
}

// montgomery returns v·R mod n, R being the power of two next above n's limbs.
func montgomery(v, n *big.Int) *big.Int {
	limbs := uint(n.BitLen()+63) / 64
	r := new(big.Int).Lsh(v, 64*limbs)
	return r.Mod(r, n)
}

// forms returns every form of the key itself.
func (k *secretKey) forms() []form {
	l := &list{of: k.name}
	if k.ed25519 != nil {
		l.ed25519(k.ed25519)
	}
	if k.mldsa != nil {
		l.mldsa(k.mldsa)
	}
	if k.ecdsa != nil {
		n := k.ecdsa.Params().N
		d := k.scalar()
		l.modular("d", d, n, (n.BitLen()+7)/8)
		l.modular("inverse of d", new(big.Int).ModInverse(d, n), n, (n.BitLen()+7)/8)
		l.text("d", d.FillBytes(make([]byte, (n.BitLen()+7)/8)))
	}
	if k.rsa != nil {
		l.rsa(k.rsa)
	}
	return l.forms
}

// order is that of Ed25519's group (RFC 8032 section 5.1).
var order = func() *big.Int {
	l, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	return l.Add(l, new(big.Int).Lsh(big.NewInt(1), 252))
}()

func littleEndian(b []byte) *big.Int {
	be := bytes.Clone(b)
	slices.Reverse(be)
	return number(be)
}

// ed25519 adds the seed and what it expands to (RFC 8032 section 5.1.5).
func (l *list) ed25519(k ed25519.PrivateKey) {
	h := sha512.Sum512(k.Seed())
	l.bytes("seed", k.Seed())
	l.text("seed", k.Seed())
	l.bytes("hash of the seed", h[:32])
	l.bytes("nonce prefix", h[32:])
	clamped := clamp(h[:32])
	l.bytes("clamped scalar", clamped)
	l.modular("scalar", new(big.Int).Mod(littleEndian(clamped), order), order, 32)
}

func clamp(b []byte) []byte {
	c := bytes.Clone(b)
	c[0] &= 248
	c[31] = c[31]&63 | 64
	return c
}

// mldsa adds the seed and what it expands to (FIPS 204 algorithm 6): ρ′, K, and
// the vectors s1, s2 and t0 as filippo.io/mldsa keeps them.
func (l *list) mldsa(seed []byte) {
	l.bytes("ML-DSA seed", seed)
	l.text("ML-DSA seed", seed)
	h := sha3.NewSHAKE256()
	_, _ = h.Write(append(bytes.Clone(seed), 4, 4))
	var expanded [128]byte
	_, _ = h.Read(expanded[:])
	l.bytes("ML-DSA ρ′", expanded[32:96])
	l.bytes("ML-DSA K", expanded[96:])
	key, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
	if err != nil {
		panic(err) // the seed has 32 bytes
	}
	inner := reflect.ValueOf(key).Elem().FieldByName("k")
	for _, name := range []string{"s1", "s2", "t0"} {
		vector := inner.FieldByName(name)
		for i := range 4 { // ML-DSA-44's dimensions; more are there, empty
			l.bytes(fmt.Sprintf("ML-DSA %s[%d]", name, i), coefficients(vector.Index(i)))
		}
	}
}

// coefficients returns an element of 32-bit numbers as it lies in memory.
func coefficients(element reflect.Value) (b []byte) {
	for i := range element.Len() {
		b = binary.NativeEndian.AppendUint32(b, uint32(element.Index(i).Uint()))
	}
	return b
}

// rsa adds all numbers but n and e.
func (l *list) rsa(k *rsa.PrivateKey) {
	p, q := k.Primes[0], k.Primes[1]
	l.number("d", k.D, (k.D.BitLen()+7)/8)
	l.text("d", k.D.Bytes())
	for name, v := range map[string]*big.Int{"p": p, "q": q, "dP": k.Precomputed.Dp, "dQ": k.Precomputed.Dq, "qInv": k.Precomputed.Qinv} {
		l.number(name, v, (v.BitLen()+7)/8)
		l.text(name, v.Bytes())
	}
	for name, prime := range map[string]*big.Int{"p": p, "q": q} {
		l.number("R mod "+name, montgomery(big.NewInt(1), prime), (prime.BitLen()+7)/8)
		l.number("R² mod "+name, montgomery(montgomery(big.NewInt(1), prime), prime), (prime.BitLen()+7)/8)
	}
	l.modular("qInv", k.Precomputed.Qinv, p, (p.BitLen()+7)/8)
	l.modular("q mod p", new(big.Int).Mod(q, p), p, (p.BitLen()+7)/8)
}

// signature is one that the keeper made.
type signature struct {
	key  *secretKey
	data []byte
	blob []byte // string algorithm, string signature
}

// forms returns what only the signer knew while it signed, recomputed.
func (s *signature) forms(number int) ([]form, error) {
	r := wire.NewReader(s.blob)
	algorithm, sig := string(r.String()), r.String()
	if err := r.End(); err != nil {
		return nil, err
	}
	l := &list{of: fmt.Sprintf("%s, signature %d", s.key.name, number)}
	switch k := s.key; {
	case k.mldsa != nil:
		l.ed25519Nonce(k.ed25519, representative(s.data))
	case k.ed25519 != nil:
		l.ed25519Nonce(k.ed25519, s.data)
	case k.ecdsa != nil:
		if err := l.ecdsaNonce(k, s.data, sig); err != nil {
			return nil, err
		}
	case k.rsa != nil:
		l.rsaHalves(k.rsa, algorithm, s.data, sig)
	}
	return l.forms, nil
}

// representative is what both halves of a composite key sign
// (draft-ietf-lamps-pq-composite-sigs, ML-DSA-44 with Ed25519).
func representative(data []byte) []byte {
	h := sha512.Sum512(data)
	m := []byte("CompositeAlgorithmSignatures2025COMPSIG-MLDSA44-Ed25519-SHA512\x00")
	return append(m, h[:]...)
}

// ed25519Nonce adds r of RFC 8032 section 5.1.6, also unreduced.
func (l *list) ed25519Nonce(k ed25519.PrivateKey, data []byte) {
	h := sha512.Sum512(k.Seed())
	wide := sha512.Sum512(append(bytes.Clone(h[32:]), data...))
	l.bytes("nonce unreduced", wide[:])
	l.modular("nonce", new(big.Int).Mod(littleEndian(wide[:]), order), order, 32)
}

// scalar returns an ECDSA key's d.
func (k *secretKey) scalar() *big.Int {
	d, err := k.ecdsa.Bytes()
	if err != nil {
		panic(err) // readKey made the key
	}
	return number(d)
}

// hash hashes data as an ECDSA key signs it (RFC 5656 section 6.2.1).
func (k *secretKey) hash(data []byte) []byte {
	switch k.ecdsa.Params().N.BitLen() {
	case 256:
		h := sha256.Sum256(data)
		return h[:]
	case 384:
		h := sha512.Sum384(data)
		return h[:]
	}
	h := sha512.Sum512(data)
	return h[:]
}

// ecdsaNonce adds k = (hash + r·d) / s, and its inverse.
func (l *list) ecdsaNonce(k *secretKey, data, sig []byte) error {
	n := k.ecdsa.Params().N
	key := k.ecdsa
	inner := wire.NewReader(sig)
	r, s := number(inner.Mpint()), number(inner.Mpint())
	if err := inner.End(); err != nil {
		return err
	}
	d := k.scalar()
	nonce := new(big.Int).Mul(r, d)
	nonce.Add(nonce, number(k.hash(data))).Mul(nonce, new(big.Int).ModInverse(s, n)).Mod(nonce, n)
	if x, _ := key.ScalarBaseMult(nonce.Bytes()); new(big.Int).Mod(x, n).Cmp(r) != 0 {
		return errors.New("the nonce was computed wrong")
	}
	size := (n.BitLen() + 7) / 8
	l.modular("nonce", nonce, n, size)
	l.modular("inverse of the nonce", new(big.Int).ModInverse(nonce, n), n, size)
	l.modular("r·d", new(big.Int).Mod(new(big.Int).Mul(r, d), n), n, size)
	return nil
}

// rsaHalves adds the signature and the padded hash modulo each prime: either
// minus what it is modulo n is a multiple of the prime.
func (l *list) rsaHalves(k *rsa.PrivateKey, algorithm string, data, sig []byte) {
	prefix := []byte("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20")
	h := sha256.Sum256(data)
	hash := h[:]
	if algorithm == "rsa-sha2-512" {
		prefix = []byte("\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40")
		h := sha512.Sum512(data)
		hash = h[:]
	}
	padded := bytes.Repeat([]byte{0xff}, k.Size()-len(prefix)-len(hash)-1)
	padded[0], padded[1] = 0, 1
	padded = append(append(append(padded, 0), prefix...), hash...)
	for name, prime := range map[string]*big.Int{"p": k.Primes[0], "q": k.Primes[1]} {
		size := (prime.BitLen() + 7) / 8
		l.modular("signature mod "+name, new(big.Int).Mod(number(sig), prime), prime, size)
		l.modular("padded hash mod "+name, new(big.Int).Mod(number(padded), prime), prime, size)
	}
}
