// Package opener starts vigil-opener and talks to it: the one-shot process for what
// needs the network, a passphrase or a parser of private key files.
//
// The AWS SDK, Argon2id and those parsers leave copies of secrets in memory that can't
// be wiped, so they run only in an opener, and the copies vanish with the process. The
// front starts an opener for a job, passes it descriptors that the front doesn't read
// (passphrases, key files, a socketpair to the keeper), sends one or more requests and
// closes the connection. The opener's own side is package opener/job.
//
// A message (package ipc) is JSON. The keyring's objects in it, which may have
// megabytes, follow as messages of their own (encoding.go).
package opener

import (
	"context"
	"errors"
	"io"

	"vigil/internal/backend"
	"vigil/internal/fault"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/master"
)

const (
	// FrontFD is the opener's descriptor for its front; FirstFile is that of its
	// first file.
	FrontFD   = ipc.FirstFile
	FirstFile = FrontFD + 1
)

// Place says where a vault's parts are. The front takes it from the config and state.
type Place struct {
	Name       string      `json:"name"`
	Vault      id.Vault    `json:"vault"`
	Identity   id.Identity `json:"identity"`    // this device's; zero: the vault's only one
	Backend    string      `json:"backend"`     // URI
	KeyringDir string      `json:"keyring_dir"` // where backend "file" lies
	Master     string      `json:"master"`      // URI
	DeviceDir  string      `json:"device_dir"`  // the folder of this device's own keys
	SessionDir string      `json:"session_dir"` // the folder of sealed AWS sessions
}

// File is the number of a descriptor passed to the opener, counted from 1; 0: none.
type File int

// A Job is one of this package's job types; R is its result.
type Job[R any] interface {
	job
	result() *R
}

// job is what client and opener need of any job.
type job interface{ name() string }

// gives is embedded in a job whose result is an R.
type gives[R any] struct{}

func (gives[R]) result() *R { return new(R) }

// Request begins a job, which follows in its own message.
type Request struct {
	Job         string `json:"job"`                   // the job's name
	Interactive bool   `json:"interactive,omitempty"` // a person waits and can be asked (see Ask)
	Seen        Seen   `json:"seen"`                  // for jobs that verify the keyring
}

// Reply answers a Request. After an Ask, the front sends an Answer and gets another
// Reply. With neither Ask nor Error, the job is done and its result follows.
type Reply struct {
	Ask   *Ask   `json:"ask,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// Handler is the opener's implementation of a job.
type Handler struct {
	Name string
	// Read decodes the job that follows its Request. It returns a function that does
	// the job and returns a pointer to its result.
	Read func(io.Reader) (func(context.Context) (any, error), error)
}

// Handle returns a Handler that calls a function for the jobs of its type.
func Handle[J, R any, P interface {
	*J
	Job[R]
}](do func(context.Context, P) (*R, error)) Handler {
	return Handler{P(new(J)).name(), func(r io.Reader) (func(context.Context) (any, error), error) {
		j := P(new(J))
		if err := ReadMessage(r, j); err != nil {
			return nil, err
		}
		return func(ctx context.Context) (any, error) { return do(ctx, j) }, nil
	}}
}

// Create makes a new vault's keyring with a first identity, an owner. It stores
// nothing: StoreNew does, once the vault's file is on the disk.
type Create struct {
	gives[Created]
	Place       Place `json:"place"`
	Passphrase  File  `json:"passphrase"`
	MemoryKiB   int   `json:"memory_kib"` // Argon2id's cost; zeros: the defaults
	Time        int   `json:"time"`
	Lanes       int   `json:"lanes"`
	KeepOffline int64 `json:"keep_offline,omitempty"` // as in Unlock
}

func (*Create) name() string { return "create" }

// Created is a new vault.
type Created struct {
	Vault    id.Vault        `json:"vault"`
	Identity id.Identity     `json:"identity"`
	Header   []byte          `json:"header"` // the vault file's first line
	Keyring  backend.Keyring `json:"keyring"`
	Keep     *KeptShare      `json:"keep,omitempty"` // as in Unlocked
	Calls    master.Calls    `json:"calls"`          // to the key management service
}

// StoreNew stores the keyring of a new vault, if its place is vacant.
type StoreNew struct {
	gives[backend.Keyring]
	Place   Place           `json:"place"`
	Keyring backend.Keyring `json:"keyring"`
}

func (*StoreNew) name() string { return "store new" }

// HandOver gives a keeper the identity of the vault that this opener has just made.
type HandOver struct {
	gives[HandedOver]
	Keeper File `json:"keeper"`
}

func (*HandOver) name() string { return "hand over" }

// HandedOver is the result of HandOver.
type HandedOver struct{}

// Ask is a question for the person who waits for the job.
type Ask struct {
	Message string `json:"message"`
}

// Answer answers an Ask.
type Answer struct {
	Text    string `json:"text"`
	Refused bool   `json:"refused"` // no person is there, or they refuse
}

// Unlock opens the identity's private keys with the passphrase and the master key,
// and gives them to the keeper.
type Unlock struct {
	gives[Unlocked]
	Place      Place    `json:"place"`
	Passphrase File     `json:"passphrase"`
	Keeper     File     `json:"keeper"`
	Offline    *Offline `json:"offline,omitempty"` // replaces an unreachable master key or backend
	// KeepOffline is how long to keep a share, in seconds; 0: keep none.
	KeepOffline int64 `json:"keep_offline,omitempty"`
}

func (*Unlock) name() string { return "unlock" }

// Offline is what a device keeps for use without network, beside the keyring (Seen.Kept).
type Offline struct {
	Share KeptShare `json:"share"`
	// Latest is the latest time that this device has seen, in Unix seconds, so that
	// setting the clock back doesn't extend a share.
	Latest int64 `json:"latest"`
}

// KeptShare is a share sealed under the device key. The seal covers Expires.
type KeptShare struct {
	Expires int64  `json:"expires"` // Unix seconds
	Sealed  []byte `json:"sealed"`
	// Where is the device key's place: "file", or the system's store.
	Where string `json:"where,omitempty"`
}

// Unlocked says which identity the keeper has now, and contains its keyring.
type Unlocked struct {
	Identity id.Identity     `json:"identity"`
	Keyring  backend.Keyring `json:"keyring"`
	Calls    master.Calls    `json:"calls"`
	// Offline: the kept share or the kept keyring was used, because of Why.
	Offline bool       `json:"offline"`
	Why     *Error     `json:"why,omitempty"`
	Keep    *KeptShare `json:"keep,omitempty"` // the share to keep, if requested
	// DeviceKey is the device key's place: "file", or the system's store.
	DeviceKey string `json:"device_key"`
	// Refused says why the backend's keyring was refused and the kept one is used.
	Refused *Error `json:"refused,omitempty"`
	// Share is the identity's wrapped share. Digest is of its content, as in Checked.
	Share  []byte `json:"share"`
	Digest []byte `json:"digest"`
}

// Check has the master key decrypt the identity's share, and discards it. This shows
// that access wasn't revoked, if the digest is right.
type Check struct {
	gives[Checked]
	Place    Place       `json:"place"`
	Identity id.Identity `json:"identity"`
	Share    []byte      `json:"share"` // wrapped
}

func (*Check) name() string { return "check" }

// Checked is the result of Check: the share's digest. If it equals that of the share
// that opened the identity, the master key answered. It doesn't reveal the share.
type Checked struct {
	Calls  master.Calls `json:"calls"`
	Digest []byte       `json:"digest"`
}

// Fetch reads the keyring objects that the front doesn't have yet.
type Fetch struct {
	gives[backend.Keyring]
	Place       Place           `json:"place"`
	HaveMembers backend.Version `json:"have_members"`
	HaveDeks    backend.Version `json:"have_deks"`
}

func (*Fetch) name() string { return "fetch" }

// Put replaces an object if it is at the expected version.
type Put struct {
	gives[Stored]
	Place  Place           `json:"place"`
	Object backend.Object  `json:"object"`
	Data   []byte          `json:"-"`
	Expect backend.Version `json:"expect"`
	// DropPrevious deletes earlier contents kept by the backend itself: they contain
	// the DEKs of removed items.
	DropPrevious bool `json:"drop_previous,omitempty"`
}

func (*Put) name() string { return "put" }

// Stored is the object's new version.
type Stored struct {
	Version backend.Version `json:"version"`
}

// Import parses a private key file and gives the key to the keeper.
type Import struct {
	gives[Key]
	Vault      id.Vault `json:"vault"`
	Key        File     `json:"key"`
	Passphrase File     `json:"passphrase"` // the key file's; 0: none
	Keeper     File     `json:"keeper"`
}

func (*Import) name() string { return "import" }

// Generate makes a key and gives it to the keeper.
type Generate struct {
	gives[Key]
	Vault   id.Vault `json:"vault"`
	Type    string   `json:"type"`
	Bits    int      `json:"bits"`
	Comment string   `json:"comment"`
	Keeper  File     `json:"keeper"`
}

func (*Generate) name() string { return "generate" }

// Key is the public side of a key that the keeper received.
type Key struct {
	Type    string `json:"type"`
	Public  []byte `json:"public"` // blob
	Comment string `json:"comment"`
}

// Export opens one item from scratch, with the passphrase, and writes its key as an
// OpenSSH private key file.
type Export struct {
	gives[Exported]
	Place         Place `json:"place"`
	Passphrase    File  `json:"passphrase"`
	NewPassphrase File  `json:"new_passphrase"` // 0: none
	Output        File  `json:"output"`
	// Line is the item's line of the vault file.
	Line []byte `json:"line"`
}

func (*Export) name() string { return "export" }

// Exported is the result of Export: the file was written.
type Exported struct {
	Calls master.Calls `json:"calls"`
}

// Consent opens the place's identity with both factors, and signs a change as that
// identity. It stores nothing, and its passphrase may be read again by this opener's
// next job.
type Consent struct {
	gives[Consented]
	Place      Place    `json:"place"`
	Passphrase File     `json:"passphrase"`
	Offline    *Offline `json:"offline,omitempty"` // as in Unlock
	// Kept has the identity opened by the keyring that this device keeps, if it keeps
	// one: the backend's is in question.
	Kept   bool    `json:"kept,omitempty"`
	Change id.Hash `json:"change"` // what is consented to; the keeper knows of what it is
}

func (*Consent) name() string { return "consent" }

// Consented is the signature, which proves the consent to a keeper.
type Consented struct {
	Consent []byte       `json:"consent"`
	Calls   master.Calls `json:"calls"`
}

// Kind classifies an opener's errors for the front.
type Kind string

// The kinds of Error.
const (
	WrongPassphrase Kind = "wrong_passphrase"
	KeyPassphrase   Kind = "key_passphrase" // the key file's is wrong or missing
	BadKeyFile      Kind = "bad_key_file"   // not a private key, or an unsupported one
	BadInput        Kind = "bad_input"      // a parameter is out of range
	Missing         Kind = "missing"        // there is no keyring
	Exists          Kind = "exists"         // there is a keyring already
	Damaged         Kind = "damaged"        // the keyring fails its checks
	Conflict        Kind = "conflict"       // another writer was first
	NotModified     Kind = "not_modified"
	NotAMember      Kind = "not_a_member"
	NotAdmitted     Kind = "not_admitted"     // the identity never was a member
	NoSuchIdentity  Kind = "no_such_identity" // the vault has no such identity
	NotOwner        Kind = "not_owner"        // it needs an owner
	Revoked         Kind = "revoked"
	Denied          Kind = "denied"
	Unreachable     Kind = "unreachable"
	Misconfigured   Kind = "misconfigured"
	SignIn          Kind = "sign_in"
	KeeperRefused   Kind = "keeper_refused"
	OtherBuild      Kind = "other_build"
	Traced          Kind = "traced"       // a debugger or the like traces a process of Vigil
	MemoryLimit     Kind = "memory_limit" // the lock limit is too low for guarded memory
	Failed          Kind = "failed"
)

// traced returns the error of a job refused because a process is traced.
func traced(err error) *Error {
	return &Error{Kind: Traced, Message: err.Error(), Next: NextTraced}
}

// NextLocked says what to do about a limit on locked memory that is too low.
const NextLocked = "Raise the limit on locked memory (ulimit -l, or LimitMEMLOCK= in the systemd unit), and restart vigild."

// NextTraced says what to do about a tracer.
const NextTraced = "End that program, and restart the daemon: vigilctl down, then vigilctl up. It could see what passes through."

// Error is a failed job: a message without secrets, the kind to branch on, and what
// to do next.
type Error struct {
	Kind      Kind   `json:"kind"`
	Message   string `json:"message"`
	Next      string `json:"next"`
	RequestID string `json:"request_id"` // the KMS's or the backend's
	Caller    string `json:"caller"`     // who was denied, if the service says so
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, &Error{Kind: k}) report whether err is of kind k, and
// errors.Is(err, fault.ErrConflict) whether another writer was first.
func (e *Error) Is(target error) bool {
	if target == fault.ErrConflict {
		return e.Kind == Conflict
	}
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Message == ""
}

// KindOf returns the kind of an opener's error, Failed for any other, and "" for nil.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	}
	return Failed
}
