package vault

import (
	"testing"

	"vigil/internal/ask"
	"vigil/internal/session"
)

// Where a passphrase was typed is known until the vault is locked.
func TestProved(t *testing.T) {
	here, there := ask.Witness{Session: session.ID{Leader: 7, Start: "9"}}, ask.Witness{Standby: 1}
	v := &Vault{}
	v.Prove(here)
	if v.Proved(here) {
		t.Error("proved of a locked vault")
	}
	v.open = &openVault{}
	v.Prove(here, ask.Witness{})
	if !v.Proved(here) || v.Proved(there) || v.Proved(ask.Witness{}) || v.Proved(ask.Witness{Session: session.ID{Leader: 7, Start: "10"}}) {
		t.Errorf("proved: %v", v.open.proved)
	}
	v.open = &openVault{} // locked, and unlocked elsewhere
	if v.Proved(here) {
		t.Error("proved after a lock")
	}
}
