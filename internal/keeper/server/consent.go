package server

import (
	"fmt"
	"slices"
	"strings"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// The keeper, not the front, decides what takes the passphrase: a front that was taken
// over can't have it seal what loosens a key's policy on every device, or remove a key.

// consented returns an error that wraps ErrLoosens if a revision with meta lets its key
// do more than one that it replaces, and consent isn't the identity's consent to that
// change. A revision that it doesn't replace stays in use beside it, as a conflict in
// which the looser one isn't used.
func (v *vault) consented(line *vaultfile.Revision, meta []byte, change id.Hash, consent []byte) error {
	next, err := vaultfile.ParseMeta(meta)
	if err != nil {
		return fmt.Errorf("%w: metadata: %w", keeper.ErrDamaged, err)
	}
	var how []string
	for _, p := range line.Parents {
		if old, known := v.policy(v.items[p]); known {
			how = append(how, next.Policy.Loosens(old)...)
		} else {
			how = append(how, "it replaces a revision that can't be read here")
		}
	}
	if len(how) == 0 || v.ring.Consented(change, consent) {
		return nil
	}
	slices.Sort(how)
	return fmt.Errorf("%w: %s", keeper.ErrLoosens, strings.Join(slices.Compact(how), ", "))
}

// mayRemove returns an error that wraps ErrRefused if one of items isn't removed yet, and
// lacks the identity's consent to that.
func (v *vault) mayRemove(u keyring.Update) error {
	for i, item := range u.Remove {
		if deks := v.ring.Deks(); deks != nil && deks.Deleted(item) {
			continue
		}
		if i >= len(u.Consents) || !v.ring.Consented(keeper.Removal(item), u.Consents[i]) {
			return fmt.Errorf("%w: nobody has consented to the removal of item %v", keeper.ErrRefused, item)
		}
	}
	return nil
}
