package keyfile

import (
	"bytes"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vigil/internal/guard"
	"vigil/internal/keypair"
)

// Object identifiers of private keys in DER, without tag and length.
const (
	oidRSA     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" // RFC 8017
	oidRSAPSS  = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	oidEC      = "\x2a\x86\x48\xce\x3d\x02\x01" // RFC 5480
	oidDSA     = "\x2a\x86\x48\xce\x38\x04\x01" // RFC 3279
	oidEd25519 = "\x2b\x65\x70"                 // RFC 8410
	oidEd448   = "\x2b\x65\x71"
	oidX25519  = "\x2b\x65\x6e"
)

// parsePKCS8 reads a PrivateKeyInfo or OneAsymmetricKey (RFC 5958 section 2).
func parsePKCS8(der []byte) (*Key, error) {
	var seq, algorithm, oid, private, attributes, public cryptobyte.String
	var version uint
	var hasAttributes, hasPublic bool
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() ||
		!seq.ReadASN1Integer(&version) || version > 1 ||
		!seq.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
		!seq.ReadASN1(&private, asn1.OCTET_STRING) ||
		!seq.ReadOptionalASN1(&attributes, &hasAttributes, asn1.Tag(0).Constructed().ContextSpecific()) ||
		!seq.ReadOptionalASN1(&public, &hasPublic, asn1.Tag(1).ContextSpecific()) ||
		!seq.Empty() {
		return nil, damaged("PKCS#8")
	}
	switch string(oid) {
	case oidRSA:
		return parsePKCS1(private)
	case oidEC:
		c, err := readCurve(&algorithm)
		if err != nil {
			return nil, err
		}
		return parseSEC1(private, c)
	case oidEd25519:
		var seed cryptobyte.String
		if !private.ReadASN1(&seed, asn1.OCTET_STRING) || !private.Empty() || !algorithm.Empty() {
			return nil, damaged("Ed25519 key in PKCS#8")
		}
		var point []byte
		if hasPublic { // a BIT STRING under an implicit tag: no unused bits, then the key
			if len(public) == 0 || public[0] != 0 {
				return nil, damaged("public half in PKCS#8")
			}
			point = public[1:]
		}
		return newEd25519(seed, point)
	case oidDSA:
		return nil, errDSA
	case oidEd448:
		return nil, &UnsupportedError{Type: "Ed448", Advice: "OpenSSH has never had it"}
	case oidX25519:
		return nil, &UnsupportedError{Type: "X25519", Advice: "it is for key exchange and can't sign"}
	case oidRSAPSS:
		return nil, &UnsupportedError{Type: "RSA restricted to PSS", Advice: "SSH signs with PKCS#1 v1.5"}
	}
	return nil, &UnsupportedError{Type: "the key type " + oidName(oid), Advice: "RSA, ECDSA on P-256, P-384 and P-521, and Ed25519 are, in PKCS#8"}
}

// parseEncryptedPKCS8 reads an EncryptedPrivateKeyInfo (RFC 5958 section 3).
// (youmark/pkcs8 doesn't bound the work that a file asks for, panics on an
// initialisation vector or text of the wrong length, and lacks SHA-224, SHA-384
// and SHA-512.)
func parseEncryptedPKCS8(der []byte, ask func() ([]byte, error)) (*Key, error) {
	var seq, algorithm, ciphertext cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() ||
		!seq.ReadASN1(&algorithm, asn1.SEQUENCE) ||
		!seq.ReadASN1(&ciphertext, asn1.OCTET_STRING) || !seq.Empty() {
		return nil, damaged("encrypted PKCS#8")
	}
	scheme, err := readPBES2(algorithm)
	if err != nil {
		return nil, err
	}
	if size := scheme.cipher.block; len(ciphertext) == 0 || len(ciphertext)%size != 0 || len(scheme.iv) != size {
		return nil, damaged("ciphertext of PKCS#8")
	}
	passphrase, err := readPassphrase(ask)
	if err != nil {
		return nil, err
	}
	key, err := scheme.derive(passphrase)
	guard.Wipe(passphrase)
	if err != nil {
		return nil, err
	}
	defer guard.Wipe(key)
	text := bytes.Clone(ciphertext)
	defer guard.Wipe(text)
	if _, err := scheme.cipher.open(key, scheme.iv, text, nil); err != nil {
		return nil, err
	}
	plain, ok := cutPadding(text, scheme.cipher.block)
	if !ok {
		return nil, ErrWrongPassphrase
	}
	k, err := parsePKCS8(plain)
	if errors.Is(err, ErrDamaged) && !errors.Is(err, keypair.ErrMalformed) {
		return nil, ErrWrongPassphrase // the padding was valid by chance
	}
	return k, err
}

// cutPadding removes PKCS#7's padding: n bytes of value n (RFC 5652 section 6.3).
func cutPadding(text []byte, block int) ([]byte, bool) {
	n := int(text[len(text)-1])
	if n == 0 || n > block || n > len(text) {
		return nil, false
	}
	for _, v := range text[len(text)-n:] {
		if int(v) != n {
			return nil, false
		}
	}
	return text[:len(text)-n], true
}
