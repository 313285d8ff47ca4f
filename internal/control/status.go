package control

import "time"

// StatusRequest asks for the state of the daemon.
type StatusRequest struct {
	asks[StatusReply]
}

func (*StatusRequest) op() Op { return "status" }

// StatusReply is the state of the daemon.
type StatusReply struct {
	PID           int           `json:"pid"`
	Build         string        `json:"build"`
	Version       string        `json:"version"`
	Started       time.Time     `json:"started"`
	UptimeSeconds int64         `json:"uptime_seconds"`
	AgentSocket   string        `json:"agent_socket"`
	ControlSocket string        `json:"control_socket"`
	Config        string        `json:"config"` // path of config.toml, even if there is none
	Vaults        []VaultStatus `json:"vaults"` // in config order; the first is the default
	// LockOn is what locks everything, and LockOnProblem why the daemon isn't told of it now.
	LockOn        []string        `json:"lock_on,omitempty"`
	LockOnProblem string          `json:"lock_on_problem,omitempty"`
	AddedKeys     int             `json:"added_keys"`           // keys added by ssh-add
	AgentLocked   bool            `json:"agent_locked"`         // by ssh-add -x
	Touch         string          `json:"touch,omitempty"`      // which security key's touch is waited for, and for what
	Processes     []ProcessStatus `json:"processes"`            // front and keepers
	KMSCalls      KMSCalls        `json:"kms_calls"`            // since the daemon's start
	Refusals      int             `json:"refusals"`             // how many `why` can show
	Connections   int             `json:"connections"`          // open agent connections
	Sessions      int             `json:"sessions,omitempty"`   // registered terminal sessions
	Standbys      int             `json:"standbys,omitempty"`   // `vigilctl ask`s that wait
	LogFile       string          `json:"log_file,omitempty"`   // where the daemon's log goes
	Warnings      []string        `json:"warnings,omitempty"`   // each one sentence that says what to do
	ConfigErr     string          `json:"config_err,omitempty"` // why the config on disk isn't used
}

// VaultState says what can be done with a vault.
type VaultState string

// The states of a vault.
const (
	VaultMissing  VaultState = "missing"  // no vault file; `init` makes one
	VaultLocked   VaultState = "locked"   // public keys are listed, nothing signs
	VaultUnlocked VaultState = "unlocked" // a keeper holds its keys
	VaultDamaged  VaultState = "damaged"  // vault file or keyring can't be read; Problem says why
	VaultRevoked  VaultState = "revoked"  // master key or identity disabled; Problem says which
)

// VaultStatus is the state of one vault.
type VaultStatus struct {
	Name       string     `json:"name"`
	ID         string     `json:"id,omitempty"` // base64url
	State      VaultState `json:"state"`
	Path       string     `json:"path"`
	Backend    string     `json:"backend,omitempty"`
	Master     string     `json:"master,omitempty"`
	Identity   string     `json:"identity,omitempty"` // this device's identity id
	Keys       int        `json:"keys"`
	Waiting    int        `json:"waiting,omitempty"` // lines without a DEK and DEKs without a line
	Pending    int        `json:"pending,omitempty"` // changes saved on this device only
	Epoch      uint64     `json:"epoch,omitempty"`
	KEKVersion uint64     `json:"kek_version,omitempty"`
	Rotation   string     `json:"rotation,omitempty"` // what remains of a rotation of the KEK, and who finishes it
	Keeper     int        `json:"keeper,omitempty"`   // pid
	UnlockedAt *time.Time `json:"unlocked_at,omitempty"`
	Offline    bool       `json:"offline,omitempty"` // unlocked with the kept share
	// OfflineUntil is when the kept share expires; nil: none is kept. DeviceKey says
	// where the key is that seals it.
	OfflineUntil *time.Time `json:"offline_until,omitempty"`
	DeviceKey    string     `json:"device_key,omitempty"`
	IdleEnds     *time.Time `json:"idle_ends,omitempty"`
	LeaseEnds    *time.Time `json:"lease_ends,omitempty"`
	// Asking is how many signatures wait for a prompt for the passphrase.
	Asking int `json:"asking,omitempty"`
	// UnlockedUntil is when max_unlocked locks the vault; nil: it doesn't.
	UnlockedUntil *time.Time `json:"unlocked_until,omitempty"`
	// LastProof is when the last successful proof by the master key was requested;
	// nil: none since an unlock without network.
	LastProof *time.Time `json:"last_proof,omitempty"`
	// LastRefresh is when the backend last answered, which proves nothing.
	LastRefresh *time.Time `json:"last_refresh,omitempty"`
	RetryAfter  *time.Time `json:"retry_after,omitempty"` // the next unlock attempt may start then
	Problem     string     `json:"problem,omitempty"`
	Next        string     `json:"next,omitempty"` // what to do about Problem
	Damaged     []string   `json:"damaged,omitempty"`
	Missing     []string   `json:"missing,omitempty"` // keys whose newer revision isn't in the vault file
}

// ProcessStatus is one process of Vigil.
type ProcessStatus struct {
	Role          string   `json:"role"` // "front" or "keeper"
	PID           int      `json:"pid"`
	Vault         string   `json:"vault,omitempty"` // empty: the keys added by ssh-add
	Keys          int      `json:"keys,omitempty"`
	ResidentBytes int64    `json:"resident_bytes,omitempty"`
	Dumpable      bool     `json:"dumpable"`          // true is a fault
	Guarded       *Guarded `json:"guarded,omitempty"` // keepers only
	Sandbox       []string `json:"sandbox,omitempty"` // what holds: "seccomp", "landlock", "no_new_privs", …
	Missing       []string `json:"missing,omitempty"` // what this kernel lacks
}

// Guarded is a keeper's guarded memory.
type Guarded struct {
	Kind string `json:"kind"` // "memfd_secret" or "mlock"
	Used int    `json:"used"` // bytes
	Size int    `json:"size"` // bytes
}

// KMSCalls counts calls to key management services.
type KMSCalls struct {
	GenerateDataKey int64 `json:"generate_data_key"`
	Decrypt         int64 `json:"decrypt"`
	Encrypt         int64 `json:"encrypt"`
	ReEncrypt       int64 `json:"re_encrypt"`
	DescribeKey     int64 `json:"describe_key"`
	Failed          int64 `json:"failed"`
}
