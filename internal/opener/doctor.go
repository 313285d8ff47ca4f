package opener

import (
	"vigil/internal/checkup"
	"vigil/internal/id"
	"vigil/internal/master"
)

// Diagnose tries the vault's backend and master key: reachable, allowed,
// compare-and-swap, retention, the key's state, and the identity's share with
// its encryption context.
type Diagnose struct {
	gives[Diagnosis]
	Place Place `json:"place"`
	// Identity is this device's; zero when it isn't known.
	Identity id.Identity `json:"identity"`
}

func (*Diagnose) name() string { return "diagnose" }

// Diagnosis is what Diagnose found.
type Diagnosis struct {
	Checks []checkup.Check `json:"checks"`
	Calls  master.Calls    `json:"calls"`
	// Decrypts are those of the calls that were Decrypt.
	Decrypts int64 `json:"decrypts"`
}
