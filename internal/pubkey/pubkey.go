// Package pubkey formats SSH public keys for people and files: the authorized_keys
// line, the fingerprints, the size. It has no private key formats, so that the daemon
// and vigilctl may link it.
package pubkey

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/bits"
	"strings"

	"vigil/internal/printable"
	"vigil/internal/wire"
)

// SHA256 returns the fingerprint ssh-keygen -l prints, "SHA256:" and unpadded base64.
func SHA256(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// MD5 returns the fingerprint ssh-keygen -l -E md5 prints, "MD5:" and hex pairs
// with colons. It is for recognising keys in old records, never for decisions.
func MD5(blob []byte) string {
	sum := md5.Sum(blob)
	digits := hex.EncodeToString(sum[:])
	var s strings.Builder
	s.WriteString("MD5")
	for i := 0; i < len(digits); i += 2 {
		s.WriteByte(':')
		s.WriteString(digits[i : i+2])
	}
	return s.String()
}

// Type returns the key type a public key blob starts with, such as
// "ssh-ed25519", or "" when blob is not one.
func Type(blob []byte) string {
	r := wire.NewReader(blob)
	t := r.String()
	if r.Err() != nil || !ValidType(t) {
		return ""
	}
	return string(t)
}

// MaxType is the longest algorithm name in bytes (RFC 4251 section 6).
const MaxType = 64

// ValidType reports whether t may be an algorithm name: 1 to MaxType printable
// ASCII characters without space and comma (RFC 4251 section 6).
func ValidType(t []byte) bool {
	if len(t) == 0 || len(t) > MaxType {
		return false
	}
	for _, c := range t {
		if c <= ' ' || c >= 0x7f || c == ',' {
			return false
		}
	}
	return true
}

// AuthorizedKey returns the authorized_keys line of blob, without a line end.
// Control characters and invalid UTF-8 in comment become "?", so that it stays one
// line and can't send control sequences to a terminal. It returns "" if blob is not a
// public key.
func AuthorizedKey(blob []byte, comment string) string {
	t := Type(blob)
	if t == "" {
		return ""
	}
	line := t + " " + base64.StdEncoding.EncodeToString(blob)
	if comment = CleanComment(comment); comment != "" {
		line += " " + comment
	}
	return line
}

// CleanComment returns comment without surrounding space and with "?" for every
// unprintable character: control characters, line separators, bidirectional controls,
// invalid UTF-8.
func CleanComment(comment string) string {
	return strings.TrimSpace(printable.Line(comment))
}

// Bits returns the size ssh-keygen -l prints for a public key or certificate
// blob: the modulus's for RSA, the curve's for ECDSA, 256 for the others. It
// returns 0 for a blob that is neither.
func Bits(blob []byte) int {
	r := wire.NewReader(blob)
	t := string(r.String())
	if r.Err() != nil {
		return 0
	}
	t, isCert := strings.CutSuffix(t, "-cert-v01@openssh.com")
	if isCert {
		r.String() // nonce
	}
	switch {
	case t == "ssh-rsa":
		r.Mpint() // exponent
		n := r.Mpint()
		if r.Err() != nil || len(n) == 0 {
			return 0
		}
		return 8*(len(n)-1) + bits.Len8(n[0])
	case strings.Contains(t, "ecdsa-sha2-nistp384"):
		return 384
	case strings.Contains(t, "ecdsa-sha2-nistp521"):
		return 521
	case strings.Contains(t, "ecdsa-sha2-nistp256"), strings.Contains(t, "ed25519"):
		return 256
	}
	return 0
}
