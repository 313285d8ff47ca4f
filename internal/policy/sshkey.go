package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vigil/internal/wire"
)

// Limits of a certificate.
const (
	// MaxPrincipals is the most names in one certificate (OpenSSH:
	// SSHKEY_CERT_MAX_PRINCIPALS).
	MaxPrincipals = 256
)

// Kinds of certificates (OpenSSH's PROTOCOL.certkeys).
const (
	UserCert = 1
	HostCert = 2
)

// certSuffix ends the type of every OpenSSH certificate.
const certSuffix = "-cert-v01@openssh.com"

// ErrKeyType reports a public key of a type not known here.
var ErrKeyType = errors.New("unknown key type")

// ErrCertificate reports a certificate that is malformed.
var ErrCertificate = errors.New("malformed certificate")

// Key is a public key, or a certificate and the key in it. Keys are equal if their
// Blobs are: ParseKey accepts only one encoding of each.
type Key struct {
	Blob  []byte // of the key or the certificate, as parsed
	Type  string // of the key itself, such as "ssh-ed25519", for a certificate too
	Plain []byte // blob of the key itself; Blob if there is no certificate
	Cert  *Certificate
}

// Certificate is a parsed OpenSSH certificate (PROTOCOL.certkeys). The caller
// verifies its signature, with CA over Signed.
type Certificate struct {
	Kind        uint32 // UserCert or HostCert
	KeyID       string
	Principals  []string
	ValidAfter  uint64 // Unix seconds
	ValidBefore uint64 // Unix seconds; all ones: forever
	Critical    []byte // encoded critical options, empty if there are none
	CA          []byte // public key blob of the authority
	Signed      []byte // what Signature is over
	Signature   []byte // signature blob
}

// lastSecond is the latest end of a certificate, in Unix seconds: that of the year 9999.
const lastSecond = 253402300799

// Ends returns when the certificate is no longer valid. It is zero for one that is
// valid forever, or beyond the year 9999.
func (c *Certificate) Ends() time.Time {
	if c.ValidBefore > lastSecond {
		return time.Time{}
	}
	return time.Unix(int64(c.ValidBefore), 0)
}

// SignatureAlgorithm returns the algorithm of the authority's signature, or "".
func (c *Certificate) SignatureAlgorithm() string {
	r := wire.NewReader(c.Signature)
	return string(r.String())
}

// publicFields is how many strings follow the type in a public key of each type. It
// includes OpenSSH's sk- types: they are never host keys, but may be certificate
// authorities.
var publicFields = map[string]int{
	"ssh-rsa":                            2, // e, n
	"ecdsa-sha2-nistp256":                2, // curve, point
	"ecdsa-sha2-nistp384":                2,
	"ecdsa-sha2-nistp521":                2,
	"ssh-ed25519":                        1,
	registered:                           1, // since OpenSSH 10.6
	"ssh-mldsa44-ed25519@openssh.com":    1,
	"sk-ssh-ed25519@openssh.com":         2, // key, application
	"sk-ecdsa-sha2-nistp256@openssh.com": 3, // curve, point, application
}

// registered and its certificates have names registered with IANA, which don't follow
// OpenSSH's naming scheme. OpenSSH uses them since 10.6.
const (
	registered            = "ssh-mldsa44-ed25519"
	registeredCertificate = "ssh-mldsa44-ed25519-cert"
)

// certType returns the type of certificates for keys of type t.
func certType(t string) string {
	if t == registered {
		return registeredCertificate
	}
	return strings.TrimSuffix(t, "@openssh.com") + certSuffix
}

// plainType returns the type of the key in a certificate of the given type.
func plainType(certificate string) (string, bool) {
	if certificate == registeredCertificate {
		return registered, true
	}
	stem, ok := strings.CutSuffix(certificate, certSuffix)
	if !ok {
		return "", false
	}
	for _, t := range []string{stem, stem + "@openssh.com"} {
		if _, ok := publicFields[t]; ok && certType(t) == certificate {
			return t, true
		}
	}
	return "", false
}

// CommonFirst reorders keys for a listing: keys of types that not every client knows
// come last. Some clients use no key that is listed behind such a one. typeOf returns
// a key's type, which may be a certificate's. CommonFirst changes keys and returns it.
func CommonFirst[K any](keys []K, typeOf func(*K) string) []K {
	var others []K
	common := keys[:0]
	for i := range keys {
		if isCommon(typeOf(&keys[i])) {
			common = append(common, keys[i])
		} else {
			others = append(others, keys[i])
		}
	}
	return append(common, others...)
}

// isCommon reports whether every SSH client knows keys of a type.
func isCommon(keyType string) bool {
	if plain, ok := plainType(keyType); ok {
		keyType = plain
	}
	switch keyType {
	case "ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521":
		return true
	}
	return false
}

// ParseKey reads the blob of a public key or certificate. The result aliases blob.
// It checks only the structure, not whether the numbers are a usable key.
func ParseKey(blob []byte) (Key, error) {
	r := wire.NewReader(blob)
	name := string(r.String())
	if r.Err() != nil {
		return Key{}, fmt.Errorf("public key: %w", r.Err())
	}
	if t, ok := plainType(name); ok {
		return parseCertificate(blob, t, r)
	}
	return parsePlain(blob)
}

func parsePlain(blob []byte) (Key, error) {
	r := wire.NewReader(blob)
	name := string(r.String())
	if _, ok := publicFields[name]; !ok {
		return Key{}, ErrKeyType
	}
	readPublic(&r, name)
	if err := r.End(); err != nil {
		return Key{}, fmt.Errorf("public key: %w", err)
	}
	return Key{Blob: blob, Type: name, Plain: blob}, nil
}

// readPublic reads the fields of a public key of type t. RSA's numbers must be
// in their shortest form, so that equal keys have equal blobs.
func readPublic(r *wire.Reader, t string) {
	for range publicFields[t] {
		if t == "ssh-rsa" {
			r.ShortestMpint()
		} else {
			r.String()
		}
	}
}

func parseCertificate(blob []byte, t string, r wire.Reader) (Key, error) {
	r.String() // nonce
	fields := r.Rest()
	readPublic(&r, t)
	if r.Err() != nil {
		return Key{}, ErrCertificate
	}
	plain := wire.AppendString(nil, t)
	plain = append(plain, fields[:len(fields)-r.Len()]...)

	r.Uint64() // serial
	c := &Certificate{Kind: r.Uint32(), KeyID: string(r.String())}
	principals := r.String()
	c.ValidAfter, c.ValidBefore = r.Uint64(), r.Uint64()
	c.Critical = r.String()
	extensions := r.String()
	r.String() // reserved
	c.CA = r.String()
	c.Signed = blob[:len(blob)-r.Len()]
	c.Signature = r.String()
	if r.End() != nil || c.Kind != UserCert && c.Kind != HostCert || !pairs(c.Critical) || !pairs(extensions) {
		return Key{}, ErrCertificate
	}
	for p := wire.NewReader(principals); p.Len() > 0; {
		name := p.String()
		if p.Err() != nil || len(c.Principals) == MaxPrincipals || bytes.IndexByte(name, 0) >= 0 {
			return Key{}, ErrCertificate
		}
		c.Principals = append(c.Principals, string(name))
	}
	if _, err := parsePlain(c.CA); err != nil {
		return Key{}, fmt.Errorf("authority of a certificate: %w", err)
	}
	return Key{Blob: blob, Type: t, Plain: plain, Cert: c}, nil
}

// pairs reports whether b is a list of names and values.
func pairs(b []byte) bool {
	r := wire.NewReader(b)
	for r.Len() > 0 {
		r.String()
		r.String()
	}
	return r.Err() == nil
}

// algorithmFits reports whether a signature algorithm in a login request names
// the type of key. (OpenSSH: sshkey_type_from_name.)
func (k *Key) algorithmFits(algorithm string) bool {
	if k.Cert == nil {
		return algorithm == k.Type || k.Type == "ssh-rsa" && slices.Contains(rsaAlgorithms, algorithm)
	}
	if algorithm == certType(k.Type) {
		return true
	}
	plain, ok := strings.CutSuffix(algorithm, certSuffix)
	return ok && k.Type == "ssh-rsa" && slices.Contains(rsaAlgorithms, plain)
}

var rsaAlgorithms = []string{"rsa-sha2-256", "rsa-sha2-512"}
