package keyfile

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
)

// oidNames are names, as OpenSSL writes them, of what PKCS#8 files may say they are or
// are encrypted by and what is not supported.
var oidNames = map[string]string{
	// Encryption schemes from before PBES2 (RFC 8018 appendix A.3, RFC 7292 appendix C).
	"1.2.840.113549.1.5.1":    "PBE-MD2-DES",
	"1.2.840.113549.1.5.3":    "PBE-MD5-DES",
	"1.2.840.113549.1.5.4":    "PBE-MD2-RC2-64",
	"1.2.840.113549.1.5.6":    "PBE-MD5-RC2-64",
	"1.2.840.113549.1.5.10":   "PBE-SHA1-DES",
	"1.2.840.113549.1.5.11":   "PBE-SHA1-RC2-64",
	"1.2.840.113549.1.12.1.1": "PBE-SHA1-RC4-128",
	"1.2.840.113549.1.12.1.2": "PBE-SHA1-RC4-40",
	"1.2.840.113549.1.12.1.3": "PBE-SHA1-3DES",
	"1.2.840.113549.1.12.1.4": "PBE-SHA1-2DES",
	"1.2.840.113549.1.12.1.5": "PBE-SHA1-RC2-128",
	"1.2.840.113549.1.12.1.6": "PBE-SHA1-RC2-40",

	// Ciphers.
	"1.3.14.3.2.7":              "DES-CBC",
	"1.2.840.113549.3.2":        "RC2-CBC",
	"1.2.840.113549.3.9":        "RC5-CBC",
	"1.2.840.113533.7.66.10":    "CAST5-CBC",
	"1.3.6.1.4.1.3029.1.2":      "BF-CBC",
	"1.2.410.200004.1.4":        "SEED-CBC",
	"1.2.156.10197.1.104.2":     "SM4-CBC",
	"1.2.392.200011.61.1.1.1.2": "CAMELLIA-128-CBC",
	"1.2.392.200011.61.1.1.1.3": "CAMELLIA-192-CBC",
	"1.2.392.200011.61.1.1.1.4": "CAMELLIA-256-CBC",
	"1.2.410.200046.1.1.2":      "ARIA-128-CBC",
	"1.2.410.200046.1.1.7":      "ARIA-192-CBC",
	"1.2.410.200046.1.1.12":     "ARIA-256-CBC",
	"2.16.840.1.101.3.4.1.3":    "AES-128-OFB",
	"2.16.840.1.101.3.4.1.4":    "AES-128-CFB",
	"2.16.840.1.101.3.4.1.6":    "AES-128-GCM",
	"2.16.840.1.101.3.4.1.23":   "AES-192-OFB",
	"2.16.840.1.101.3.4.1.24":   "AES-192-CFB",
	"2.16.840.1.101.3.4.1.26":   "AES-192-GCM",
	"2.16.840.1.101.3.4.1.43":   "AES-256-OFB",
	"2.16.840.1.101.3.4.1.44":   "AES-256-CFB",
	"2.16.840.1.101.3.4.1.46":   "AES-256-GCM",

	// PBKDF2's hashes.
	"1.2.840.113549.2.6":      "hmacWithMD5",
	"2.16.840.1.101.3.4.2.13": "hmacWithSHA3-224",
	"2.16.840.1.101.3.4.2.14": "hmacWithSHA3-256",
	"2.16.840.1.101.3.4.2.15": "hmacWithSHA3-384",
	"2.16.840.1.101.3.4.2.16": "hmacWithSHA3-512",

	// Key types.
	"1.2.840.113549.1.1.7":    "RSA-OAEP",
	"1.2.840.113549.1.3.1":    "Diffie-Hellman",
	"1.3.101.111":             "X448",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44",
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87",

	// Curves.
	"1.2.840.10045.3.1.1":   "P-192",
	"1.3.132.0.33":          "P-224",
	"1.3.132.0.10":          "secp256k1",
	"1.3.36.3.3.2.8.1.1.7":  "brainpoolP256r1",
	"1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
	"1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
	"1.2.156.10197.1.301":   "SM2",
}

// maxOID is the longest object identifier that is shown, in bytes. Those above have at
// most 10.
const maxOID = 32

// oidName returns the name of an object identifier in DER, without tag and length: from
// oidNames, or in digits.
func oidName(oid []byte) string {
	if len(oid) > maxOID {
		return "without a proper name"
	}
	var id asn1.ObjectIdentifier
	s := cryptobyte.String(append([]byte{asn1.TagOID, byte(len(oid))}, oid...))
	if !s.ReadASN1ObjectIdentifier(&id) {
		return "without a proper name"
	}
	if name := oidNames[id.String()]; name != "" {
		return name
	}
	return id.String()
}
