package keyring

import (
	"crypto/hmac"
	"fmt"
	"slices"

	"vigil/internal/id"
)

// CheckChain checks what needs no key: that the members record on which d was
// written is in m, and that every KEK it uses is live there. Errors are *Error.
func (d *Deks) CheckChain(m *Members) error {
	if d.vault != m.vault {
		return &Error{ObjectDeks, 1, StageVault, fmt.Sprintf("belongs to vault %v, want %v", d.vault, m.vault)}
	}
	at := slices.IndexFunc(m.records, func(r Record) bool { return r.Hash() == d.head })
	if at < 0 {
		return &Error{ObjectDeks, 1, StageHead, fmt.Sprintf("written on record %v, which members doesn't have", d.head)}
	}
	k := m.chain.keks[d.kek]
	if k == nil || !k.live || k.madeAt > uint64(at) {
		return &Error{ObjectDeks, 1, StageKEK, fmt.Sprintf("written under KEK %d, which isn't live", d.kek)}
	}
	for i := range d.deks {
		version := d.deks[i].KEK
		if version == d.kek {
			continue
		}
		if k := m.chain.keks[version]; k == nil || !k.live || version > d.kek {
			return &Error{ObjectDeks, i + 2, StageKEK, fmt.Sprintf("DEK wrapped by KEK %d, which isn't live", version)}
		}
	}
	return nil
}

// Verify checks d against the chain (CheckChain), and its MAC in constant
// time. Only a Deks that came from ParseDeks can succeed. Errors are *Error, or
// mac's own.
func (d *Deks) Verify(m *Members, mac MACFunc) error {
	if err := d.CheckChain(m); err != nil {
		return err
	}
	want, err := mac(d.kek, d.authenticated)
	if err != nil {
		return fmt.Errorf("verify deks under KEK %d: %w", d.kek, err)
	}
	if len(d.authenticated) == 0 || !hmac.Equal(want[:], d.mac[:]) {
		return &Error{ObjectDeks, 0, StageMAC, "its MAC is wrong"}
	}
	return nil
}

// DeksPin is what a device remembers of the manifest it last accepted. The
// zero pin is that of a device that has seen none.
type DeksPin struct {
	Epoch uint64 `json:"epoch"`
	KEK   uint64 `json:"kek"`
	// SHA256 is that of the whole stored object.
	SHA256 id.Hash `json:"sha256"`
}

// Pin returns the place that a parsed manifest has.
func (d *Deks) Pin() DeksPin { return DeksPin{Epoch: d.epoch, KEK: d.kek, SHA256: d.sum} }

// Extends checks that d is not older than what this device has seen, nor
// another object of the same epoch. An older KEK is a rollback too: a removed
// identity may still know it. Its error is a *HistoryError.
func (d *Deks) Extends(pin DeksPin) error {
	h := &HistoryError{
		Object: ObjectDeks, Expected: pin.Epoch, Found: d.epoch, ExpectedHash: pin.SHA256, FoundHash: d.sum,
		ExpectedKEK: pin.KEK, FoundKEK: d.kek,
	}
	switch {
	case d.epoch < pin.Epoch, d.kek < pin.KEK:
		h.Stage = StageRollback
		return h
	case d.epoch == pin.Epoch && d.sum != pin.SHA256:
		h.Stage = StageFork
		return h
	}
	return nil
}
