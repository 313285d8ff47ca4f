package vault

import (
	"cmp"
	"slices"
	"time"

	"vigil/internal/clock"
	"vigil/internal/control"
	"vigil/internal/opener"
)

// Status returns the state of the vault.
func (v *Vault) Status() control.VaultStatus {
	vaultID, empty, fileErr := v.readHeader() // before v.mu, as it's I/O
	begun := false
	var kept opener.KeptShare
	if fileErr == nil {
		kept = v.kept(vaultID)
		if empty {
			begun, fileErr = v.begun(vaultID)
		}
	}
	rotation := v.rotationLeft()
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.config()
	s := control.VaultStatus{
		Name: v.name, State: control.VaultLocked, Path: c.Path, Backend: c.Backend, Master: c.Master, Keys: len(v.listed),
	}
	if time.Now().Before(v.slow.until) {
		s.RetryAfter = &v.slow.until
	}
	if kept.Expires != 0 {
		until := time.Unix(kept.Expires, 0)
		s.OfflineUntil, s.DeviceKey = &until, kept.Where
	}
	var copies *control.Error
	if v.open != nil {
		copies = v.copies
		if fileErr == nil {
			fileErr = v.fileErr // the header may be good and the rest not
		}
	}
	if p := cmp.Or(control.AsError(fileErr), v.problem, copies); p != nil {
		s.Problem, s.Next = p.Message, p.Next
		s.State = stateFor(p.Code, v.open != nil)
	}
	if begun && v.open == nil {
		s.State = control.VaultMissing
		s.Problem, s.Next = "its creation was interrupted", "Continue: vigilctl up (or vigilctl init)."
	}
	if v.open != nil {
		v.open.describe(&s)
		s.Rotation = rotation
	}
	s.Asking = v.desk.Waiting()
	return s
}

// stateFor returns the state of a vault that has a problem.
func stateFor(code control.Code, open bool) control.VaultState {
	switch {
	case open:
		return control.VaultUnlocked
	case code == control.CodeNotFound:
		return control.VaultMissing
	case code == control.CodeDamaged:
		return control.VaultDamaged
	case code == control.CodeRevoked, code == control.CodeRefused:
		return control.VaultRevoked
	}
	return control.VaultLocked
}

// describe fills in the state of an unlocked vault.
func (o *openVault) describe(s *control.VaultStatus) {
	n, a, now := o.now(), o.access.Load(), clock.Now()
	since, leaseEnds, refreshed := o.since, a.ends.Shown(now), a.refreshed
	s.State, s.ID, s.Identity, s.UnlockedAt = control.VaultUnlocked, o.id.String(), o.identity.String(), &since
	if !o.until.IsZero() {
		until := o.until.Shown(now)
		s.UnlockedUntil = &until
	}
	s.LeaseEnds, s.LastRefresh, s.Offline = &leaseEnds, &refreshed, a.offline
	if !a.proved.IsZero() {
		proved := a.proved.Shown(now)
		s.LastProof = &proved
	}
	s.Keys, s.Waiting, s.Pending = len(n.keys), n.waiting, n.pending
	s.Epoch, s.KEKVersion = n.pins.Deks.Epoch, n.pins.Deks.KEK
	s.Keeper, s.Damaged = o.keeper.PID(), slices.Clone(n.file.Damaged())
	for _, k := range n.keys {
		if k.problem != "" {
			s.Damaged = append(s.Damaged, k.problem)
		}
	}
	s.Missing = n.missingNames()
}
