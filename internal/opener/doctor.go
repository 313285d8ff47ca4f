package opener

import (
	"vigil/internal/checkup"
	"vigil/internal/id"
	"vigil/internal/master"
)

// Diagnose tests the vault's backend and master key: connection, permissions,
// compare-and-swap, retention, the key's state, and decryption of the identity's
// share with its encryption context.
type Diagnose struct {
	gives[Diagnosis]
	Place    Place       `json:"place"`
	Identity id.Identity `json:"identity"` // this device's; zero: unknown
}

func (*Diagnose) name() string { return "diagnose" }

// Diagnosis is what Diagnose found.
type Diagnosis struct {
	Checks   []checkup.Check `json:"checks"`
	Calls    master.Calls    `json:"calls"`
	Decrypts int64           `json:"decrypts"` // Decrypt calls among Calls
}
