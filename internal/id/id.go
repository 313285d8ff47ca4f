// Package id holds the identifiers of the vault format: 16 random bytes for
// identities, items and revisions, and SHA-256 hashes for vaults and records.
//
// In text every one of them is base64url without padding (RFC 4648 section 5),
// 22 characters for 16 bytes and 43 for 32; a reader accepts no other spelling.
// In sealing contexts they are raw bytes. docs/vault-format.md, "Identifiers".
package id

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// ErrID reports text that is not the canonical spelling of an identifier of the
// expected size.
var ErrID = errors.New("not an identifier: want base64url without padding, of the right length")

// encoding refuses non-zero trailing bits. It skips line ends, but decode detects
// them by the text's length.
var encoding = base64.RawURLEncoding.Strict()

// Hash is a SHA-256: of a members record's body, of an unlock block's or KEK
// seal's line, or of a whole object.
type Hash [32]byte

// HashOf returns the SHA-256 of b.
func HashOf(b []byte) Hash { return sha256.Sum256(b) }

// Vault is a vault's id: the SHA-256 of the body of record 0 of its members.
type Vault [32]byte

// Identity names one person on one device, or a recovery code.
type Identity [16]byte

// Item names one SSH key of a vault over all its revisions.
type Item [16]byte

// Revision names one version of an item.
type Revision [16]byte

// NewIdentity returns a random id.
func NewIdentity() Identity { return random() }

// NewItem returns a random id.
func NewItem() Item { return random() }

// NewRevision returns a random id.
func NewRevision() Revision { return random() }

// dash is the value of "-" in base64url.
const dash = 62

// random returns an id whose text doesn't begin with "-", like a flag on a command
// line; a reader accepts such ids. It never fails: crypto/rand.Read crashes the
// program if the kernel has no randomness.
func random() (b [16]byte) {
	for {
		if rand.Read(b[:]); b[0]>>2 != dash {
			return b
		}
	}
}

func (h Hash) String() string     { return encoding.EncodeToString(h[:]) }
func (v Vault) String() string    { return encoding.EncodeToString(v[:]) }
func (i Identity) String() string { return encoding.EncodeToString(i[:]) }
func (i Item) String() string     { return encoding.EncodeToString(i[:]) }
func (r Revision) String() string { return encoding.EncodeToString(r[:]) }

// IsZero reports whether h is unset.
func (h Hash) IsZero() bool { return h == Hash{} }

// IsZero reports whether v is unset.
func (v Vault) IsZero() bool { return v == Vault{} }

// IsZero reports whether i is unset.
func (i Identity) IsZero() bool { return i == Identity{} }

// IsZero reports whether i is unset.
func (i Item) IsZero() bool { return i == Item{} }

// IsZero reports whether r is unset.
func (r Revision) IsZero() bool { return r == Revision{} }

// ParseIdentity reads the text of an Identity. Its error is ErrID.
func ParseIdentity(s string) (i Identity, err error) { return i, decode(i[:], s) }

// MarshalText and UnmarshalText make every id a string in encoding/json.

func (h Hash) MarshalText() ([]byte, error)         { return []byte(h.String()), nil }
func (v Vault) MarshalText() ([]byte, error)        { return []byte(v.String()), nil }
func (i Identity) MarshalText() ([]byte, error)     { return []byte(i.String()), nil }
func (i Item) MarshalText() ([]byte, error)         { return []byte(i.String()), nil }
func (r Revision) MarshalText() ([]byte, error)     { return []byte(r.String()), nil }
func (h *Hash) UnmarshalText(text []byte) error     { return decode(h[:], string(text)) }
func (v *Vault) UnmarshalText(text []byte) error    { return decode(v[:], string(text)) }
func (i *Identity) UnmarshalText(text []byte) error { return decode(i[:], string(text)) }
func (i *Item) UnmarshalText(text []byte) error     { return decode(i[:], string(text)) }
func (r *Revision) UnmarshalText(text []byte) error { return decode(r[:], string(text)) }

func decode(dst []byte, s string) error {
	if len(s) != encoding.EncodedLen(len(dst)) {
		return ErrID
	}
	var buf [32]byte
	n, err := encoding.Decode(buf[:], []byte(s))
	if err != nil || n != len(dst) {
		return ErrID
	}
	copy(dst, buf[:n])
	return nil
}
