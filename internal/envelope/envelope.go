// Package envelope seals and opens the keys of the hierarchy and the items
// under it. Nothing else in Vigil encrypts what is stored.
//
//	share ‖ argon2 ── UnlockKey ──▶ unlock key ── SealHalves ──▶ private halves
//	private halves ── SealKEK (HPKE) ──▶ KEK ── WrapDEK ──▶ DEK ── SealMeta, SealSecret ──▶ item
//
// All symmetric seals use one function, Seal. It derives an AES-256-GCM key for
// a single message, and a commitment to that key, from a 32-byte key and 32 fresh
// random bytes of salt. So a key may seal any number of messages, there is no
// nonce to repeat, and a sealed message opens under one key only.
//
// Secrets are passed in slices that the caller provides, which should be in
// guarded memory, and which the caller wipes. What the standard library derives
// from them is on the heap, within guard.Do: this package wipes what it can reach
// and the runtime erases the rest (see guard.Sweeper for when).
//
// docs/vault-format.md gives every label, context and size.
package envelope

import (
	"encoding/binary"
	"errors"

	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Sizes in bytes.
const (
	KeySize    = 32 // unlock key, KEK, DEK, share and Argon2id output
	HalvesSize = 64 // HPKE private key (a seed) ‖ Ed25519 seed

	saltSize       = 32
	commitmentSize = 32
	tagSize        = 16
	// Overhead is what a seal adds: salt, commitment and tag.
	Overhead = saltSize + commitmentSize + tagSize
)

// Errors of opening. After any of them, what was stored must not be used.
var (
	// ErrWrongKey: sealed under another key or in another context: a wrong
	// passphrase or share, another vault's, identity's or item's seal.
	ErrWrongKey = errors.New("sealed under another key or for another place")
	// ErrDamaged: the key and context are right, but the ciphertext was changed.
	ErrDamaged = errors.New("ciphertext was changed")
	// ErrSize: no seal has this size, or the caller's buffer has the wrong size.
	ErrSize = errors.New("wrong size")
	// ErrPadding: opened, but not padded as the format requires.
	ErrPadding = errors.New("wrong padding")
	// ErrHalves: the private halves don't belong to the identity's public keys.
	ErrHalves = errors.New("private halves don't belong to the public keys")
)

// Labels of version 1. Each begins a context, so that nothing sealed for one
// purpose opens for another.
const (
	labelUnlock  = "vigil v1 unlock"
	labelHalves  = "vigil v1 halves"
	labelKEK     = "vigil v1 kek"
	labelDEK     = "vigil v1 dek"
	labelDeksMAC = "vigil v1 deks mac"
	labelMeta    = "vigil v1 meta"
	labelSecret  = "vigil v1 secret"

	// Labels of pending changes and of consents, which are not part of the vault format.
	labelOwn     = "vigil device own key"
	labelWaiting = "vigil device waiting"
	labelConsent = "vigil device consent"
)

// Context binds a seal to its purpose and place: a label and fields, each preceded
// by its length as 4 bytes, big-endian. It is public.
type Context []byte

// NewContext encodes a label and fields. Ids are raw bytes; numbers are encoded
// by Uint.
func NewContext(label string, fields ...[]byte) Context {
	n := 4 + len(label)
	for _, f := range fields {
		n += 4 + len(f)
	}
	c := make(Context, 0, n)
	c = binary.BigEndian.AppendUint32(c, uint32(len(label)))
	c = append(c, label...)
	for _, f := range fields {
		c = binary.BigEndian.AppendUint32(c, uint32(len(f)))
		c = append(c, f...)
	}
	return c
}

// Uint returns n as a field of a Context: 8 bytes, big-endian.
func Uint(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Binding identifies one revision of an item, to which its seals are bound.
type Binding struct {
	Vault    id.Vault
	Item     id.Item
	Revision id.Revision
	// Parents as the vault file has them: sorted by keyring.SortParents.
	Parents []id.Revision
}

func (b Binding) context(label string) Context {
	parents := make([]byte, 0, len(b.Parents)*len(id.Revision{}))
	for _, p := range b.Parents {
		parents = append(parents, p[:]...)
	}
	return NewContext(label, b.Vault[:], b.Item[:], b.Revision[:], parents)
}

func unlockContext(vault id.Vault, identity id.Identity, k keyring.KDF) Context {
	return NewContext(labelUnlock, vault[:], identity[:], []byte(k.Name),
		Uint(uint64(k.Memory)), Uint(uint64(k.Time)), Uint(uint64(k.Lanes)), k.Salt[:])
}

// halvesContext has the hash of the HPKE key, not the key, because every context
// must stay below the 1,024 bytes that some HKDFs accept as info.
func halvesContext(vault id.Vault, identity id.Identity, pub *keyring.Public) Context {
	hpke := id.HashOf(pub.HPKE[:])
	return NewContext(labelHalves, vault[:], identity[:], hpke[:], pub.Ed25519[:])
}

func kekContext(vault id.Vault, identity id.Identity, version uint64) Context {
	return NewContext(labelKEK, vault[:], identity[:], Uint(version))
}

func waitingContext(vault id.Vault, identity id.Identity, e *keyring.DEK) Context {
	parents := make([]byte, 0, len(e.Parents)*len(id.Revision{}))
	for _, p := range e.Parents {
		parents = append(parents, p[:]...)
	}
	tightens := uint64(0)
	if e.Tightens {
		tightens = 1
	}
	return NewContext(labelWaiting, vault[:], identity[:], e.Item[:], e.Revision[:], parents, e.Line[:], Uint(tightens))
}

func dekContext(vault id.Vault, item id.Item, revision id.Revision, kek uint64) Context {
	return NewContext(labelDEK, vault[:], item[:], revision[:], Uint(kek))
}
