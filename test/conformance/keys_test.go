package conformance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// key is a private key a case gives to an agent, or signs with itself as a host.
type key struct {
	name   string // its comment, and what the answers call it
	signer ssh.Signer
	public []byte // the public key, or the certificate, as messages carry it
	body   []byte // of an add message: the key type and what belongs to it, no comment
	plain  ssh.PublicKey
}

// keyring makes keys on demand and keeps them for the whole test program:
// RSA keys take long to make.
var keyring = struct {
	sync.Mutex
	keys map[string]*key
}{keys: map[string]*key{}}

// newKey returns the key called name, of the type its name begins with:
// ed25519, p256, p384, p521 or rsa (2,048 bits).
func newKey(t testing.TB, name string) *key {
	t.Helper()
	keyring.Lock()
	defer keyring.Unlock()
	if k, ok := keyring.keys[name]; ok {
		return k
	}
	k, err := makeKey(name)
	if err != nil {
		t.Fatalf("make key %s: %v", name, err)
	}
	keyring.keys[name] = k
	return k
}

func makeKey(name string) (*key, error) {
	private, body, err := makePrivate(name)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	pub := signer.PublicKey()
	return &key{name: name, signer: signer, public: pub.Marshal(), body: body, plain: pub}, nil
}

func makePrivate(name string) (crypto.Signer, []byte, error) {
	curves := map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}
	kind := kindOf(name)
	switch kind {
	case "ed25519":
		public, private, err := ed25519.GenerateKey(rand.Reader)
		body := wire.AppendString(nil, ssh.KeyAlgoED25519)
		body = wire.AppendString(body, public)
		return private, wire.AppendString(body, private), err
	case "rsa":
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, nil, err
		}
		body := wire.AppendString(nil, ssh.KeyAlgoRSA)
		body = wire.AppendMpint(body, private.N.Bytes())
		body = wire.AppendMpint(body, big.NewInt(int64(private.E)).Bytes())
		return private, append(body, rsaPrivate(private)...), nil
	}
	private, err := ecdsa.GenerateKey(curves[kind], rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, nil, err
	}
	d, err := private.Bytes()
	if err != nil {
		return nil, nil, err
	}
	curve := "nist" + kind
	body := wire.AppendString(nil, "ecdsa-sha2-"+curve)
	body = wire.AppendString(body, curve)
	body = wire.AppendString(body, public)
	return private, wire.AppendMpint(body, d), nil
}

// rsaPrivate encodes what an add message has beyond n and e: d, iqmp, p, q.
func rsaPrivate(k *rsa.PrivateKey) []byte {
	var b []byte
	for _, v := range []*big.Int{k.D, k.Precomputed.Qinv, k.Primes[0], k.Primes[1]} {
		b = wire.AppendMpint(b, v.Bytes())
	}
	return b
}

// kindOf returns the type a key's name begins with: "ed25519" of "ed25519 host b".
func kindOf(name string) string {
	for _, kind := range []string{"ed25519", "p256", "p384", "p521", "rsa"} {
		if len(name) >= len(kind) && name[:len(kind)] == kind {
			return kind
		}
	}
	panic("no key type begins the name " + name)
}

// certified returns k with a certificate of the given type for a principal,
// signed by ca, in force until the given time.
func (k *key) certified(t testing.TB, ca *key, certType uint32, principal string, until time.Time) *key {
	t.Helper()
	cert := &ssh.Certificate{
		Key: k.plain, CertType: certType, KeyId: k.name, ValidPrincipals: []string{principal},
		ValidAfter: 0, ValidBefore: uint64(until.Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca.signer); err != nil {
		t.Fatalf("certify %s: %v", k.name, err)
	}
	public := cert.Marshal()
	body := wire.AppendString(nil, cert.Type())
	body = wire.AppendString(body, public)
	return &key{name: k.name + " certificate", signer: k.signer, public: public, body: append(body, k.certTail(t)...), plain: k.plain}
}

// certTail is what follows the certificate in an add message: for Ed25519 both
// halves, for the others the private part alone.
func (k *key) certTail(t testing.TB) []byte {
	t.Helper()
	r := wire.NewReader(k.body)
	r.String() // key type
	switch kindOf(k.name) {
	case "ed25519":
	case "rsa":
		r.String() // n
		r.String() // e
	default:
		r.String() // curve
		r.String() // point
	}
	if r.Err() != nil {
		t.Fatalf("take %s apart: %v", k.name, r.Err())
	}
	return r.Rest()
}

// Messages.

func add(k *key, constraints ...[]byte) []byte { return addAs(k, k.name, constraints...) }

func addAs(k *key, comment string, constraints ...[]byte) []byte {
	number := byte(agentcAdd)
	if len(constraints) != 0 {
		number = agentcAddConstrained
	}
	msg := wire.AppendString(append([]byte{number}, k.body...), comment)
	for _, c := range constraints {
		msg = append(msg, c...)
	}
	return msg
}

func list() []byte { return []byte{agentcList} }

func remove(k *key) []byte { return wire.AppendString([]byte{agentcRemove}, k.public) }

func sign(k *key, data []byte, flags uint32) []byte {
	msg := wire.AppendString([]byte{agentcSign}, k.public)
	return wire.AppendUint32(wire.AppendString(msg, data), flags)
}

func lock(passphrase string) []byte { return wire.AppendString([]byte{agentcLock}, passphrase) }

func unlock(passphrase string) []byte { return wire.AppendString([]byte{agentcUnlock}, passphrase) }

func extension(name string, data ...byte) []byte {
	return append(wire.AppendString([]byte{agentcExtension}, name), data...)
}

// Constraints.

func lifetime(seconds uint32) []byte { return wire.AppendUint32([]byte{1}, seconds) }

func confirm() []byte { return []byte{2} }

func constraintExtension(name string, data []byte) []byte {
	return append(wire.AppendString([]byte{255}, name), data...)
}
