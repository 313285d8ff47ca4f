package keyfile

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strings"

	"filippo.io/mldsa"

	"vigil/internal/guard"
	"vigil/internal/keypair"
)

// Kinds that Generate makes, named as ssh-keygen -t names them.
const (
	KindEd25519 = "ed25519"
	KindECDSA   = "ecdsa"
	KindRSA     = "rsa"
	// KindComposite is ML-DSA-44 with Ed25519 under OpenSSH 10.6's type name.
	KindComposite = "mldsa44-ed25519"
	// KindCompositeOpenSSH is the same under the type name of OpenSSH 10.4 and 10.5.
	KindCompositeOpenSSH = "mldsa44-ed25519@openssh.com"
)

// Generate makes a new key of one of the kinds above. bits is MinRSABits to
// MaxRSABits in steps of 8 for RSA (0: DefaultRSABits), 256, 384 or 521 for
// ECDSA (0: 256), and 0 or 256 for the others. The caller closes the Key.
func Generate(kind string, bits int, comment string) (k *Key, err error) {
	guard.Do(func() { k, err = generate(kind, bits) })
	if err != nil {
		return nil, err
	}
	k.setComment([]byte(comment))
	return k, nil
}

func generate(kind string, bits int) (*Key, error) {
	switch kind {
	case KindEd25519:
		if bits != 0 && bits != 256 {
			return nil, wrongBits(kind, bits, "it has 256")
		}
		return fromSeed(ed25519.SeedSize, func(seed []byte) (*Key, error) { return newEd25519(seed, nil) })
	case KindComposite, KindCompositeOpenSSH:
		if bits != 0 && bits != 256 {
			return nil, wrongBits(kind, bits, "it has one size")
		}
		return fromSeed(mldsa.PrivateKeySize+ed25519.SeedSize, func(seeds []byte) (*Key, error) {
			return newComposite("ssh-"+kind, seeds, nil)
		})
	case KindECDSA:
		return generateECDSA(bits)
	case KindRSA:
		return generateRSA(bits)
	}
	if strings.HasSuffix(kind, "-sk") {
		return nil, &UnsupportedError{Type: "making a key in a security key", Advice: "`ssh-keygen -t " + shown([]byte(kind)) + "` makes one, and `vigilctl add FILE` takes it"}
	}
	return nil, &UnsupportedError{Type: "the kind of key " + shown([]byte(kind)), Advice: "ed25519, ecdsa, rsa and mldsa44-ed25519 are"}
}

func wrongBits(kind string, bits int, advice string) error {
	return &UnsupportedError{Type: fmt.Sprintf("%s of %d bits", kind, bits), Advice: advice}
}

func fromSeed(size int, make_ func(seed []byte) (*Key, error)) (*Key, error) {
	seed := make([]byte, size)
	defer guard.Wipe(seed)
	if _, err := rand.Read(seed); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return make_(seed)
}

func generateECDSA(bits int) (*Key, error) {
	if bits == 0 {
		bits = 256
	}
	curve := map[int]ecdh.Curve{256: ecdh.P256(), 384: ecdh.P384(), 521: ecdh.P521()}[bits]
	if curve == nil {
		return nil, wrongBits(KindECDSA, bits, "256, 384 and 521 are")
	}
	private, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate P-%d key: %w", bits, err)
	}
	scalar := private.Bytes()
	defer guard.Wipe(scalar)
	c := keypair.CurveOf(fmt.Sprintf("ecdsa-sha2-nistp%d", bits))
	return newECDSA(c, scalar, private.PublicKey().Bytes())
}

func generateRSA(bits int) (*Key, error) {
	if bits == 0 {
		bits = DefaultRSABits
	}
	if bits < MinRSABits || bits > MaxRSABits || bits%8 != 0 {
		return nil, wrongBits(KindRSA, bits, fmt.Sprintf("%d to %d are, in steps of 8", MinRSABits, MaxRSABits))
	}
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("generate RSA key: %w", err)
	}
	p, q := private.Primes[0], private.Primes[1]
	pre := private.Precomputed
	defer wipeInts(private.D, p, q, pre.Dp, pre.Dq, pre.Qinv)
	n := keypair.RSANumbers{
		N:    private.N.Bytes(),
		E:    []byte{byte(private.E >> 16), byte(private.E >> 8), byte(private.E)},
		D:    private.D.Bytes(),
		P:    p.Bytes(),
		Q:    q.Bytes(),
		QInv: pre.Qinv.Bytes(),
	}
	defer func() { guard.Wipe(n.D); guard.Wipe(n.P); guard.Wipe(n.Q); guard.Wipe(n.QInv) }()
	return newRSA(n)
}
