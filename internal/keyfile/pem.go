package keyfile

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vigil/internal/guard"
	"vigil/internal/keypair"
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
	case pemPKCS1, pemSEC1, pemPKCS8, pemEncrypted:
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return parseRFC1421(block, ask)
		}
		return parseDER(block.Bytes, ask)
	case pemDSA:
		return nil, errDSA
	case pemTSS2:
		return nil, &UnsupportedError{Type: "a key of a TPM (TSS2)", Advice: "its private half never leaves the TPM"}
	}
	return nil, &UnsupportedError{Type: "this kind of PEM private key", Advice: "see docs/import.md for the formats that are read"}
}

// parseRFC1421 reads a private key that is encrypted as the headers of its PEM block say
// (RFC 1421 section 4.6).
func parseRFC1421(block *pem.Block, ask func() ([]byte, error)) (*Key, error) {
	if err := checkRFC1421(block); err != nil {
		return nil, err
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
	if err != nil {
		return nil, damaged("encryption headers of the PEM block")
	}
	defer guard.Wipe(der)
	k, err := parsePlainDER(der)
	if errors.Is(err, ErrDamaged) && !errors.Is(err, keypair.ErrMalformed) {
		return nil, ErrWrongPassphrase // one in 256 wrong ones gives a valid-looking padding
	}
	return k, err
}

// rfc1421Blocks are the ciphers that crypto/x509 reads, and the sizes of their blocks and
// initialisation vectors, in bytes.
var rfc1421Blocks = map[string]int{
	"DES-CBC": 8, "DES-EDE3-CBC": 8, "AES-128-CBC": 16, "AES-192-CBC": 16, "AES-256-CBC": 16,
}

// checkRFC1421 refuses, before anyone is asked for a passphrase, what it wouldn't open.
func checkRFC1421(block *pem.Block) error {
	name, digits, _ := strings.Cut(block.Headers["DEK-Info"], ",")
	size := rfc1421Blocks[name]
	if size == 0 && name != "" {
		return unsupportedByOpenSSLsName("cipher", shown([]byte(name)))
	}
	iv, err := hex.DecodeString(digits)
	if size == 0 || err != nil || len(iv) != size {
		return damaged("encryption headers of the PEM block")
	}
	if len(block.Bytes) == 0 || len(block.Bytes)%size != 0 {
		return damaged("the encrypted key is not a whole number of blocks")
	}
	return nil
}

// parseDER reads a private key in DER, encrypted or not. What it is, it says itself; the
// label above it may be another format's. (OpenSSL doesn't always mind either.)
func parseDER(der []byte, ask func() ([]byte, error)) (*Key, error) {
	var seq cryptobyte.String
	in := cryptobyte.String(der)
	if in.ReadASN1(&seq, asn1.SEQUENCE) && seq.PeekASN1Tag(asn1.SEQUENCE) {
		return parseEncryptedPKCS8(der, ask)
	}
	return parsePlainDER(der)
}

// parsePlainDER reads PKCS#1, SEC 1 or PKCS#8. All begin with a version; what follows it
// differs.
func parsePlainDER(der []byte) (*Key, error) {
	var seq cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !seq.SkipASN1(asn1.INTEGER) {
		return nil, damaged("DER")
	}
	switch {
	case seq.PeekASN1Tag(asn1.INTEGER):
		return parsePKCS1(der)
	case seq.PeekASN1Tag(asn1.OCTET_STRING):
		return parseSEC1(der, nil)
	}
	return parsePKCS8(der)
}

// parsePKCS1 reads an RSAPrivateKey (RFC 8017 appendix A.1.2).
func parsePKCS1(der []byte) (*Key, error) {
	var seq cryptobyte.String
	var version, dp, dq []byte
	var k keypair.RSANumbers
	in := cryptobyte.String(der)
	ok := in.ReadASN1(&seq, asn1.SEQUENCE) && in.Empty()
	for _, number := range []*[]byte{&version, &k.N, &k.E, &k.D, &k.P, &k.Q, &dp, &dq, &k.QInv} {
		ok = ok && readInteger(&seq, number)
	}
	if !ok && len(version) == 0 && len(k.Q) != 0 && len(dp) == 0 { // p, q, g, y and x
		return nil, errDSA
	}
	if ok && len(version) == 1 && version[0] == 1 { // more primes follow
		return nil, &UnsupportedError{Type: "RSA with more than two primes"}
	}
	if !ok || len(version) != 0 || !seq.Empty() {
		return nil, damaged("PKCS#1")
	}
	return newRSA(k)
}

// readInteger reads an INTEGER that isn't negative, and drops its leading zeros. As
// OpenSSL does, it reads more of them than DER has, and one whose first zero is missing.
func readInteger(s *cryptobyte.String, out *[]byte) bool {
	var content cryptobyte.String
	if !s.ReadASN1(&content, asn1.INTEGER) || len(content) == 0 {
		return false
	}
	*out = bytes.TrimLeft(content, "\x00")
	return true
}

// The curves' object identifiers (RFC 5480 section 2.1.1.1), in keypair.Curves' order,
// in DER without tag and length.
var curveOIDs = [len(keypair.Curves)]string{
	"\x2a\x86\x48\xce\x3d\x03\x01\x07",
	"\x2b\x81\x04\x00\x22",
	"\x2b\x81\x04\x00\x23",
}

var errExplicitCurve = &UnsupportedError{
	Type:   "a curve given by its parameters",
	Advice: "if it is P-256, P-384 or P-521, rewrite a copy with " + opensslCurve,
}

// readCurve reads ECParameters (RFC 5480 section 2.1.1) that name a curve.
func readCurve(s *cryptobyte.String) (*keypair.Curve, error) {
	if s.PeekASN1Tag(asn1.SEQUENCE) {
		return nil, errExplicitCurve
	}
	var oid cryptobyte.String
	if !s.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !s.Empty() {
		return nil, damaged("curve of the EC key")
	}
	for i, c := range keypair.Curves {
		if curveOIDs[i] == string(oid) {
			return c, nil
		}
	}
	return nil, &UnsupportedError{Type: "the curve " + oidName(oid), Advice: "SSH has P-256, P-384 and P-521"}
}

// parseSEC1 reads an ECPrivateKey (RFC 5915 section 3). c is the curve that an
// enclosing PKCS#8 names, or nil.
func parseSEC1(der []byte, c *keypair.Curve) (*Key, error) {
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

// isDER reports whether data begins with the tag of a SEQUENCE and a length: one of at
// least 128 bytes, or data's own.
func isDER(data []byte) bool {
	const longForm, maxLengthBytes = 0x80, 4
	return len(data) > 4 && data[0] == byte(asn1.SEQUENCE) &&
		(data[1] > longForm && data[1] <= longForm+maxLengthBytes || int(data[1]) == len(data)-2)
}

// refuseDER says how to convert a file in DER.
func refuseDER(data []byte) error {
	var seq cryptobyte.String
	var version uint
	in := cryptobyte.String(data)
	const pfxVersion = 3 // RFC 7292 section 4
	if in.ReadASN1(&seq, asn1.SEQUENCE) && seq.ReadASN1Integer(&version) && version == pfxVersion && seq.PeekASN1Tag(asn1.SEQUENCE) {
		return &UnsupportedError{Type: "PKCS#12", Advice: "convert a copy with " + opensslPKCS12}
	}
	return fmt.Errorf("%w as text: if it is DER, convert a copy with %s", ErrNotAKey, opensslDER)
}
