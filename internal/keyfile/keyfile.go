// Package keyfile turns private key files into the encoding the rest of Vigil
// keeps keys in, and back: the body of SSH_AGENTC_ADD_IDENTITY (RFC 9987
// section 3.2) from the key type string up to the comment. It also makes new keys.
//
// It reads what OpenSSH, OpenSSL and PuTTY write (docs/import.md lists the
// formats, and what is refused and why) and writes OpenSSH's own format.
//
// Its input may be hostile: a file that an attacker sent. So every size, count and
// cost in a file has a named limit (limits.go) that is checked before it is acted
// on, no parser panics, and errors quote nothing from the file but the name of a
// key type or cipher. Its output is trusted: a Key's private half belongs to its
// public half, which is recomputed.
//
// Only the one-shot opener process links this package. The standard library makes
// copies of a key that can't be wiped; they end with that process, and until then
// runtime/secret erases what it can. This package wipes what it allocates for a
// secret before it returns, even with an error.
package keyfile

import (
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/pubkey"
)

// A Key is one private key with its public half, comment and encoding. It owns
// guarded memory until Close. It prints as [redacted].
type Key struct {
	typ     string
	public  []byte
	comment string
	slab    *guard.Slab
	secret  *guard.Buffer
}

// Type returns the SSH key type, such as "ssh-ed25519".
func (k *Key) Type() string { return k.typ }

// Public returns the public key blob (RFC 4253 section 6.6). The caller must
// not change it.
func (k *Key) Public() []byte { return k.public }

// Comment returns the comment found in the file, or "". It is printable UTF-8 on
// one line, at most MaxComment bytes.
func (k *Key) Comment() string { return k.comment }

// Fingerprint returns the public key's fingerprint, "SHA256:…".
func (k *Key) Fingerprint() string { return pubkey.SHA256(k.public) }

// Bits returns the size ssh-keygen -l prints: the modulus's for RSA, the curve's
// for ECDSA, 256 for the others.
func (k *Key) Bits() int { return pubkey.Bits(k.public) }

// Encoding returns the body of SSH_AGENTC_ADD_IDENTITY from the key type string
// up to, but without, the comment. It is in guarded memory that the Key owns, and
// nil after Close. Copy it only into memory that is wiped.
func (k *Key) Encoding() []byte { return k.secret.Bytes() }

// Close wipes the private key and unmaps its memory. It may be called again.
func (k *Key) Close() error {
	k.secret.Free()
	if err := k.slab.Close(); err != nil {
		return fmt.Errorf("release private key: %w", err)
	}
	return nil
}

const redacted = "[redacted]"

// String returns "[redacted]".
func (k *Key) String() string { return redacted }

// GoString returns "[redacted]".
func (k *Key) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (k *Key) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// MarshalText returns "[redacted]", for encoders.
func (k *Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// setComment keeps the printable part of a file's comment.
func (k *Key) setComment(comment []byte) {
	if len(comment) > MaxComment {
		comment = comment[:MaxComment]
	}
	clean := pubkey.CleanComment(string(comment))
	k.comment = clean
}
