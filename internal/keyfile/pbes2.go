package keyfile

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/scrypt"
)

// Object identifiers of PBES2 (RFC 8018 appendix A) and scrypt (RFC 7914
// section 7) in DER, without tag and length.
const (
	oidPBES2  = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"
	oidPBKDF2 = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c"
	oidScrypt = "\x2b\x06\x01\x04\x01\xda\x47\x04\x0b"
)

// pbes2Ciphers are the ciphers of RFC 8018 appendix B.2 that are still used.
var pbes2Ciphers = map[string]opensshCipher{
	"\x60\x86\x48\x01\x65\x03\x04\x01\x02": {name: "AES-128-CBC", key: 16, block: 16, open: openAESCBC},
	"\x60\x86\x48\x01\x65\x03\x04\x01\x16": {name: "AES-192-CBC", key: 24, block: 16, open: openAESCBC},
	"\x60\x86\x48\x01\x65\x03\x04\x01\x2a": {name: "AES-256-CBC", key: 32, block: 16, open: openAESCBC},
	"\x2a\x86\x48\x86\xf7\x0d\x03\x07":     {name: "DES-EDE3-CBC", key: 24, block: 8, open: open3DESCBC},
}

// pbkdf2Hashes are the HMACs of RFC 8018 appendix B.1.
var pbkdf2Hashes = map[string]func() hash.Hash{
	"\x2a\x86\x48\x86\xf7\x0d\x02\x07": sha1.New,
	"\x2a\x86\x48\x86\xf7\x0d\x02\x08": sha256.New224,
	"\x2a\x86\x48\x86\xf7\x0d\x02\x09": sha256.New,
	"\x2a\x86\x48\x86\xf7\x0d\x02\x0a": sha512.New384,
	"\x2a\x86\x48\x86\xf7\x0d\x02\x0b": sha512.New,
	"\x2a\x86\x48\x86\xf7\x0d\x02\x0c": sha512.New512_224,
	"\x2a\x86\x48\x86\xf7\x0d\x02\x0d": sha512.New512_256,
}

// A pbes2 holds PBES2 parameters: how a key is derived from a passphrase, and the
// cipher.
type pbes2 struct {
	cipher opensshCipher
	iv     []byte
	derive func(passphrase []byte) ([]byte, error)
}

// readPBES2 reads the content of an encryption AlgorithmIdentifier, and refuses
// costs beyond the limits.
func readPBES2(algorithm cryptobyte.String) (*pbes2, error) {
	var oid, params, kdf, kdfOID, enc, encOID, iv cryptobyte.String
	if !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) {
		return nil, damaged("encryption scheme of PKCS#8")
	}
	if string(oid) != oidPBES2 {
		return nil, unsupportedByOpenSSLsName("encryption", oidName(oid))
	}
	if !algorithm.ReadASN1(&params, asn1.SEQUENCE) || !algorithm.Empty() ||
		!params.ReadASN1(&kdf, asn1.SEQUENCE) || !kdf.ReadASN1(&kdfOID, asn1.OBJECT_IDENTIFIER) ||
		!params.ReadASN1(&enc, asn1.SEQUENCE) || !enc.ReadASN1(&encOID, asn1.OBJECT_IDENTIFIER) ||
		!params.Empty() {
		return nil, damaged("PBES2 parameters")
	}
	c, ok := pbes2Ciphers[string(encOID)]
	if !ok {
		return nil, unsupportedByOpenSSLsName("cipher", oidName(encOID))
	}
	if !enc.ReadASN1(&iv, asn1.OCTET_STRING) || !enc.Empty() {
		return nil, damaged("PBES2 cipher")
	}
	var content cryptobyte.String
	if !kdf.ReadASN1(&content, asn1.SEQUENCE) || !kdf.Empty() {
		return nil, damaged("PBES2 key derivation")
	}
	s := &pbes2{cipher: c, iv: iv}
	var err error
	switch string(kdfOID) {
	case oidPBKDF2:
		s.derive, err = readPBKDF2(content, c.key)
	case oidScrypt:
		s.derive, err = readScrypt(content, c.key)
	default:
		err = unsupportedByOpenSSLsName("key derivation", oidName(kdfOID))
	}
	return s, err
}

// readPBKDF2 reads PBKDF2-params (RFC 8018 appendix A.2) for a key of size bytes.
func readPBKDF2(content cryptobyte.String, size int) (func([]byte) ([]byte, error), error) {
	var salt, prf, prfOID cryptobyte.String
	var iterations uint64
	var hasPRF bool
	if !content.ReadASN1(&salt, asn1.OCTET_STRING) || !content.ReadASN1Integer(&iterations) || iterations == 0 ||
		!readKeyLength(&content, size) ||
		!content.ReadOptionalASN1(&prf, &hasPRF, asn1.SEQUENCE) || !content.Empty() {
		return nil, damaged("PBKDF2 parameters")
	}
	newHash := sha1.New // the default
	if hasPRF {
		if !prf.ReadASN1(&prfOID, asn1.OBJECT_IDENTIFIER) {
			return nil, damaged("PBKDF2 parameters")
		}
		if newHash = pbkdf2Hashes[string(prfOID)]; newHash == nil {
			return nil, unsupportedByOpenSSLsName("hash", oidName(prfOID))
		}
	}
	if len(salt) > MaxSalt {
		return nil, tooCostly("length of the salt in bytes", uint64(len(salt)), MaxSalt, opensslRewrite)
	}
	if iterations > MaxPBKDF2Iterations {
		return nil, tooCostly("number of PBKDF2 iterations", iterations, MaxPBKDF2Iterations, opensslRewrite)
	}
	return func(passphrase []byte) ([]byte, error) {
		key, err := pbkdf2.Key(newHash, string(passphrase), salt, int(iterations), size)
		if err != nil {
			return nil, fmt.Errorf("derive key with PBKDF2: %w", err)
		}
		return key, nil
	}, nil
}

// readScrypt reads scrypt-params (RFC 7914 section 7) for a key of size bytes.
func readScrypt(content cryptobyte.String, size int) (func([]byte) ([]byte, error), error) {
	var salt cryptobyte.String
	var n, r, p uint64
	if !content.ReadASN1(&salt, asn1.OCTET_STRING) ||
		!content.ReadASN1Integer(&n) || !content.ReadASN1Integer(&r) || !content.ReadASN1Integer(&p) ||
		!readKeyLength(&content, size) || !content.Empty() ||
		n < 2 || n&(n-1) != 0 || r == 0 || p == 0 {
		return nil, damaged("scrypt parameters")
	}
	const block = 128 // bytes of memory that N and r count
	switch {
	case len(salt) > MaxSalt:
		return nil, tooLarge("length of the salt in bytes", uint64(len(salt)), MaxSalt)
	case n > MaxScryptMemory/block || r > MaxScryptMemory/block || n*r > MaxScryptMemory/block:
		return nil, tooLarge("memory for scrypt in bytes", saturatingMul(block, saturatingMul(n, r)), MaxScryptMemory)
	case p > MaxScryptWork || n*r*p > MaxScryptWork:
		return nil, tooLarge("work for scrypt (N·r·p)", saturatingMul(n*r, p), MaxScryptWork)
	}
	return func(passphrase []byte) ([]byte, error) {
		key, err := scrypt.Key(passphrase, salt, int(n), int(r), int(p), size)
		if err != nil {
			return nil, fmt.Errorf("derive key with scrypt: %w", err)
		}
		return key, nil
	}, nil
}

// readKeyLength reads an optional keyLength, which must be the cipher's.
func readKeyLength(s *cryptobyte.String, size int) bool {
	if !s.PeekASN1Tag(asn1.INTEGER) {
		return true
	}
	var n uint64
	return s.ReadASN1Integer(&n) && n == uint64(size)
}
