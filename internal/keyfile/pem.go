package keyfile

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vigil/internal/guard"
)

const (
	pemOpenSSH   = "OPENSSH PRIVATE KEY"
	pemPKCS1     = "RSA PRIVATE KEY"
	pemSEC1      = "EC PRIVATE KEY"
	pemDSA       = "DSA PRIVATE KEY"
	pemPKCS8     = "PRIVATE KEY"
	pemEncrypted = "ENCRYPTED PRIVATE KEY"
	pemTSS2      = "TSS2 PRIVATE KEY" // https://www.hansenpartnership.com/draft-bottomley-tpm2-keys.html
)

// parsePEM reads the only private key among the PEM blocks of data. It ignores
// certificates, parameters and text.
func parsePEM(data []byte, ask func() ([]byte, error)) (*Key, error) {
	begins := countPrivateBegins(data)
	if begins > 1 {
		return nil, ErrMultipleKeys
	}
	public := false
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			defer guard.Wipe(block.Bytes)
			return parsePEMBlock(block, ask)
		}
		if strings.HasSuffix(block.Type, "PUBLIC KEY") || strings.Contains(block.Type, "CERTIFICATE") {
			public = true
		}
		data = rest
	}
	switch {
	case begins == 1:
		return nil, damaged("PEM block")
	case public:
		return nil, ErrPublicKey
	case bytes.Contains(data, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----")):
		return nil, &UnsupportedError{Type: "the format of PGP", Advice: "gpg-agent can serve such a key to ssh"}
	}
	return nil, ErrNotAKey
}

// countPrivateBegins counts the lines that begin a private key, complete or not.
func countPrivateBegins(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if bytes.HasPrefix(line, []byte("-----BEGIN ")) && bytes.HasSuffix(line, []byte("PRIVATE KEY-----")) {
			n++
		}
	}
	return n
}

func parsePEMBlock(block *pem.Block, ask func() ([]byte, error)) (*Key, error) {
	switch block.Type {
	case pemOpenSSH:
		return parseOpenSSH(block.Bytes, ask)
	case pemPKCS1, pemSEC1:
		return parseTraditional(block, ask)
	case pemPKCS8:
		return parsePKCS8(block.Bytes)
	case pemEncrypted:
		return parseEncryptedPKCS8(block.Bytes, ask)
	case pemDSA:
		return nil, errDSA
	case pemTSS2:
		return nil, &UnsupportedError{Type: "a key of a TPM (TSS2)", Advice: "its private half never leaves the TPM"}
	}
	return nil, &UnsupportedError{Type: "this kind of PEM private key", Advice: "see docs/import.md for the formats that are read"}
}

// parseTraditional reads OpenSSL's traditional formats, PKCS#1 and SEC 1, in
// plaintext or encrypted with RFC 1421's headers.
func parseTraditional(block *pem.Block, ask func() ([]byte, error)) (*Key, error) {
	parseDER := parsePKCS1
	if block.Type == pemSEC1 {
		parseDER = func(der []byte) (*Key, error) { return parseSEC1(der, nil) }
	}
	if !strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return parseDER(block.Bytes)
	}
	passphrase, err := readPassphrase(ask)
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 weak (MD5, no rounds), but existing files use it
	der, err := x509.DecryptPEMBlock(block, passphrase)
	guard.Wipe(passphrase)
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, ErrWrongPassphrase
	}
	if err != nil { // no or another cipher in DEK-Info, or a length that can't be
		return nil, damaged("encryption headers of the PEM block")
	}
	defer guard.Wipe(der)
	k, err := parseDER(der)
	if errors.Is(err, ErrDamaged) {
		return nil, ErrWrongPassphrase // one in 256 wrong ones gives a valid-looking padding
	}
	return k, err
}

// parsePKCS1 reads an RSAPrivateKey (RFC 8017 appendix A.1.2).
func parsePKCS1(der []byte) (*Key, error) {
	var seq cryptobyte.String
	var version uint
	var k rsaNumbers
	var dp, dq, qinv []byte
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() || !seq.ReadASN1Integer(&version) {
		return nil, damaged("PKCS#1")
	}
	if version == 1 {
		return nil, &UnsupportedError{Type: "RSA with more than two primes"}
	}
	ok := version == 0
	for _, number := range []*[]byte{&k.n, &k.e, &k.d, &k.p, &k.q, &dp, &dq, &qinv} {
		ok = ok && seq.ReadASN1Integer(number)
	}
	if !ok || !seq.Empty() {
		return nil, damaged("PKCS#1")
	}
	return newRSA(k)
}

// The curves' object identifiers (RFC 5480 section 2.1.1.1), in curves' order,
// in DER without tag and length.
var curveOIDs = [len(curves)]string{
	"\x2a\x86\x48\xce\x3d\x03\x01\x07",
	"\x2b\x81\x04\x00\x22",
	"\x2b\x81\x04\x00\x23",
}

var errExplicitCurve = &UnsupportedError{
	Type:   "a curve given by its parameters",
	Advice: "if it is P-256, P-384 or P-521, rewrite a copy with openssl ec -param_enc named_curve",
}

// readCurve reads ECParameters (RFC 5480 section 2.1.1) that name a curve.
func readCurve(s *cryptobyte.String) (*curve, error) {
	if s.PeekASN1Tag(asn1.SEQUENCE) {
		return nil, errExplicitCurve
	}
	var oid cryptobyte.String
	if !s.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !s.Empty() {
		return nil, damaged("curve of the EC key")
	}
	for i := range curves {
		if curveOIDs[i] == string(oid) {
			return &curves[i], nil
		}
	}
	return nil, &UnsupportedError{Type: "an EC key of another curve than P-256, P-384 and P-521", Advice: "SSH has no other"}
}

// parseSEC1 reads an ECPrivateKey (RFC 5915 section 3). c is the curve that an
// enclosing PKCS#8 names, or nil.
func parseSEC1(der []byte, c *curve) (*Key, error) {
	var seq, scalar, params, public cryptobyte.String
	var version uint
	var hasParams, hasPublic bool
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() ||
		!seq.ReadASN1Integer(&version) || version != 1 ||
		!seq.ReadASN1(&scalar, asn1.OCTET_STRING) ||
		!seq.ReadOptionalASN1(&params, &hasParams, asn1.Tag(0).Constructed().ContextSpecific()) ||
		!seq.ReadOptionalASN1(&public, &hasPublic, asn1.Tag(1).Constructed().ContextSpecific()) ||
		!seq.Empty() {
		return nil, damaged("SEC 1")
	}
	if hasParams {
		named, err := readCurve(&params)
		if err != nil {
			return nil, err
		}
		if c != nil && c != named {
			return nil, damaged("two curves in one EC key")
		}
		c = named
	}
	if c == nil {
		return nil, damaged("EC key without a curve")
	}
	var point []byte
	if hasPublic && (!public.ReadASN1BitStringAsBytes(&point) || !public.Empty() || len(point) == 0) {
		return nil, damaged("public half of the EC key")
	}
	return newECDSA(c, scalar, point)
}
