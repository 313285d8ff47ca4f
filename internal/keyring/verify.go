package keyring

import (
	"crypto/ed25519"
	"crypto/hmac"
	"fmt"
	"slices"
)

// CheckChain makes the checks that need no key of the vault: that the members
// record that d names is in m, that d is under the KEK that was the newest then,
// and that its writer may write and signed it. Errors are *Error.
func (d *Deks) CheckChain(m *Members) error {
	fail := func(line int, stage Stage, format string, args ...any) error {
		return &Error{ObjectDeks, line, stage, fmt.Sprintf(format, args...)}
	}
	if d.vault != m.vault {
		return fail(1, StageVault, "belongs to vault %v, want %v", d.vault, m.vault)
	}
	at := slices.IndexFunc(m.records, func(r Record) bool { return r.Hash() == d.head })
	if at < 0 {
		return fail(1, StageHead, "written on record %v, which members doesn't have", d.head)
	}
	if k := m.chain.keks[d.kek]; k == nil || !k.live || k.madeAt > uint64(at) {
		return fail(1, StageKEK, "written under KEK %d, which isn't live", d.kek)
	}
	if k := m.chain.keks[d.kek+1]; k != nil && k.madeAt <= uint64(at) {
		return fail(1, StageKEK, "written under KEK %d by who knew KEK %d", d.kek, d.kek+1)
	}
	return d.checkWriter(m.chain, fail)
}

// checkWriter checks the signature. It must be by the writer's current key, or,
// only for the manifest that the removal or rekeying record names, by a key that
// the record replaced or removed: that key must not sign later manifests, although
// its holder may know the KEK.
func (d *Deks) checkWriter(c *chain, fail func(int, Stage, string, ...any) error) error {
	signed := func(key [Ed25519PublicSize]byte) bool { return ed25519.Verify(key[:], DeksMessage(d.hash), d.sig[:]) }
	who := c.identities[d.by]
	switch {
	case who == nil:
		return fail(1, StageAuthorisation, "written by %v, who was never in the vault", d.by)
	case who.Role == Reader:
		return fail(1, StageAuthorisation, "written by %v, who may only read", d.by)
	case slices.ContainsFunc(who.went, func(w wentKey) bool { return w.deks == d.hash && signed(w.ed25519) }):
		return nil
	case !who.live:
		return fail(1, StageAuthorisation, "written by %v, who is not an identity of the vault", d.by)
	case !signed(who.Public.Ed25519):
		return fail(0, StageSignature, "not signed by %v", d.by)
	}
	return nil
}

// Verify checks d against the chain (CheckChain), and its MAC in constant time.
// It succeeds only for a Deks from ParseDeks. Errors are *Error, or mac's own.
func (d *Deks) Verify(m *Members, mac MACFunc) error {
	if err := d.CheckChain(m); err != nil {
		return err
	}
	want, err := mac(d.kek, d.hash)
	if err != nil {
		return fmt.Errorf("verify deks under KEK %d: %w", d.kek, err)
	}
	if !hmac.Equal(want[:], d.mac[:]) {
		return &Error{ObjectDeks, 0, StageMAC, "its MAC is wrong"}
	}
	return nil
}
