// Package opener starts vigil-opener and talks to it: the one-shot process for
// what needs the network, a passphrase or a parser of private key files.
//
// The AWS SDK, Argon2id and those parsers leave copies of what they work on in
// memory that nobody can reach; they run in an opener only, and the copies die
// with it. The front starts one for a job, hands it descriptors that it doesn't
// read itself (passphrases, key files, the end of a socketpair to the keeper),
// asks one or more questions and closes the connection. The opener's own side
// is package opener/job.
//
// A message (package ipc) is JSON. The keyring's objects that it names, which may
// have megabytes, follow it in messages of their own (message.go).
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
	// FrontFD is the opener's descriptor for its front; FirstFile is that of the
	// first file it was handed.
	FrontFD   = ipc.FirstFile
	FirstFile = FrontFD + 1
)

// Place says where a vault's parts are. The front gets it from config and state.
type Place struct {
	Name       string      `json:"name"`
	Vault      id.Vault    `json:"vault"`
	Identity   id.Identity `json:"identity"`    // this device's; zero: the only one there is
	Backend    string      `json:"backend"`     // URI
	KeyringDir string      `json:"keyring_dir"` // where backend "file" lies
	Master     string      `json:"master"`      // URI
	DeviceDir  string      `json:"device_dir"`  // where this device's own keys lie
	SessionDir string      `json:"session_dir"` // where sealed AWS sessions are kept
}

// File is the number of a descriptor that was passed to the opener, counted from 1.
// Zero means none.
type File int

// A Job is one of the job types of this package; R is what it results in.
type Job[R any] interface {
	job
	result() *R
}

// job is what client and opener need of every job.
type job interface{ name() string }

// gives is embedded in a job that results in an R.
type gives[R any] struct{}

func (gives[R]) result() *R { return new(R) }

// Request begins a job, which follows in a message of its own.
type Request struct {
	Job string `json:"job"` // its name
	// Interactive says that a person waits and can be asked (see Ask).
	Interactive bool `json:"interactive,omitempty"`
	// Seen is what the device has seen of the keyring, for jobs that verify it.
	Seen Seen `json:"seen"`
}

// Reply answers a Request. With Ask, an Answer goes back, and another Reply follows;
// without it and Error the job is done, and its result follows.
type Reply struct {
	Ask   *Ask   `json:"ask,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// Handler is a job as an opener does it.
type Handler struct {
	Name string
	// Read reads the job that follows its Request, and returns what does it and
	// returns the address of its result.
	Read func(io.Reader) (func(context.Context) (any, error), error)
}

// Handle has a function do the jobs of its type.
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

// Create makes a new vault's keyring with a first identity, an owner, and stores
// nothing yet: Found does, once the vault's file is on the disk.
type Create struct {
	gives[Created]
	Place      Place `json:"place"`
	Passphrase File  `json:"passphrase"`
	MemoryKiB  int   `json:"memory_kib"` // Argon2id's cost; zeros: the defaults
	Time       int   `json:"time"`
	Lanes      int   `json:"lanes"`
	// KeepOffline asks for a share to keep, as in Unlock.
	KeepOffline int64 `json:"keep_offline,omitempty"`
}

func (*Create) name() string { return "create" }

// Created is a new vault.
type Created struct {
	Vault    id.Vault        `json:"vault"`
	Identity id.Identity     `json:"identity"`
	Header   []byte          `json:"header"` // the vault file's first line
	Keyring  backend.Keyring `json:"keyring"`
	Keep     *KeptShare      `json:"keep,omitempty"` // as in Unlocked
	// Calls are those to the key management service.
	Calls master.Calls `json:"calls"`
}

// Found stores the keyring of a new vault, if its place is vacant.
type Found struct {
	gives[backend.Keyring]
	Place   Place           `json:"place"`
	Keyring backend.Keyring `json:"keyring"`
}

func (*Found) name() string { return "found" }

// Enter hands the identity of a vault that this opener has just made to a keeper.
type Enter struct {
	gives[Entered]
	Keeper File `json:"keeper"`
}

func (*Enter) name() string { return "enter" }

// Entered says that the keeper has it.
type Entered struct{}

// Ask is a question for the person who waits for the job.
type Ask struct {
	Message string `json:"message"`
}

// Answer answers an Ask.
type Answer struct {
	Text    string `json:"text"`
	Refused bool   `json:"refused"` // nobody is there, or they don't want to
}

// Unlock opens the identity's private halves with the passphrase and the master
// key, and hands them to the keeper.
type Unlock struct {
	gives[Unlocked]
	Place      Place `json:"place"`
	Passphrase File  `json:"passphrase"`
	Keeper     File  `json:"keeper"`
	// Offline is what may stand in for a master key or a backend that can't be reached.
	Offline *Offline `json:"offline,omitempty"`
	// KeepOffline asks for a share to keep, good for so many seconds; 0: none.
	KeepOffline int64 `json:"keep_offline,omitempty"`
}

func (*Unlock) name() string { return "unlock" }

// Offline is what a device keeps for the time without network, beside the keyring
// (Seen.Kept).
type Offline struct {
	Share KeptShare `json:"share"`
	// Latest is the latest time that this device has seen, in Unix seconds: a
	// clock that was set back doesn't make a share good for longer.
	Latest int64 `json:"latest"`
}

// KeptShare is a share sealed under the device key. Its expiry is part of the seal.
type KeptShare struct {
	Expires int64  `json:"expires"` // Unix seconds
	Sealed  []byte `json:"sealed"`
	// Where says where the device key is: "file", or the system's store.
	Where string `json:"where,omitempty"`
}

// Unlocked says which identity the keeper now has, and gives the keyring it was
// found in.
type Unlocked struct {
	Identity id.Identity     `json:"identity"`
	Keyring  backend.Keyring `json:"keyring"`
	Calls    master.Calls    `json:"calls"`
	// Offline says that the kept share or the kept keyring was used, and Why.
	Offline bool   `json:"offline"`
	Why     *Error `json:"why,omitempty"`
	// Keep is the share to keep from now on, if one was asked for.
	Keep *KeptShare `json:"keep,omitempty"`
	// DeviceKey says where the device key is: "file", or the system's store.
	DeviceKey string `json:"device_key"`
	// Refused says why the keyring is the one that the device has kept: what the
	// backend has isn't to be used.
	Refused *Error `json:"refused,omitempty"`
	// Share is the wrapped share of the identity that was opened, and Digest that
	// of what was in it, as in Checked.
	Share  []byte `json:"share"`
	Digest []byte `json:"digest"`
}

// Check has the master key decrypt the identity's share, and throws it away: it
// shows that access was not revoked, if it is that share.
type Check struct {
	gives[Checked]
	Place    Place       `json:"place"`
	Identity id.Identity `json:"identity"`
	Share    []byte      `json:"share"` // wrapped
}

func (*Check) name() string { return "check" }

// Checked says that something has decrypted the share. It was the master key if
// the digest is the one of the share that opened the identity; the share can't
// be found from it.
type Checked struct {
	Calls  master.Calls `json:"calls"`
	Digest []byte       `json:"digest"`
}

// Fetch reads both objects of the keyring, those the front hasn't got yet.
type Fetch struct {
	gives[backend.Keyring]
	Place       Place           `json:"place"`
	HaveMembers backend.Version `json:"have_members"`
	HaveDeks    backend.Version `json:"have_deks"`
}

func (*Fetch) name() string { return "fetch" }

// Put replaces an object if it's still at the expected version.
type Put struct {
	gives[Stored]
	Place  Place           `json:"place"`
	Object backend.Object  `json:"object"`
	Data   []byte          `json:"-"`
	Expect backend.Version `json:"expect"`
	// DropPrevious deletes what the backend itself keeps of earlier contents:
	// they have the DEKs of items that the new one has removed.
	DropPrevious bool `json:"drop_previous,omitempty"`
}

func (*Put) name() string { return "put" }

// Stored is the object's new version.
type Stored struct {
	Version backend.Version `json:"version"`
}

// Import parses a private key file and hands the key to the keeper.
type Import struct {
	gives[Key]
	Vault      id.Vault `json:"vault"`
	Key        File     `json:"key"`
	Passphrase File     `json:"passphrase"` // the key file's; 0: none was given
	Keeper     File     `json:"keeper"`
}

func (*Import) name() string { return "import" }

// Generate makes a key and hands it to the keeper.
type Generate struct {
	gives[Key]
	Vault   id.Vault `json:"vault"`
	Type    string   `json:"type"`
	Bits    int      `json:"bits"`
	Comment string   `json:"comment"`
	Keeper  File     `json:"keeper"`
}

func (*Generate) name() string { return "generate" }

// Key is the public side of a key that the keeper was handed.
type Key struct {
	Type    string `json:"type"`
	Public  []byte `json:"public"` // blob
	Comment string `json:"comment"`
}

// Export opens one item from scratch, with the passphrase asked again, and
// writes its key as an OpenSSH private key file.
type Export struct {
	gives[Exported]
	Place         Place `json:"place"`
	Passphrase    File  `json:"passphrase"`
	NewPassphrase File  `json:"new_passphrase"` // 0: without one
	Output        File  `json:"output"`
	// Line is the item's line of the vault file.
	Line []byte `json:"line"`
}

func (*Export) name() string { return "export" }

// Exported says that the file was written.
type Exported struct {
	Calls master.Calls `json:"calls"`
}

// Kind sorts an opener's errors for the front.
type Kind string

// The kinds of Error.
const (
	WrongPassphrase Kind = "wrong_passphrase"
	KeyPassphrase   Kind = "key_passphrase" // a key file's is wrong or was not given
	BadKeyFile      Kind = "bad_key_file"   // not a private key, or of a kind not supported
	BadInput        Kind = "bad_input"      // a parameter is out of range
	Missing         Kind = "missing"        // the keyring isn't there
	Exists          Kind = "exists"         // the keyring is there already
	Damaged         Kind = "damaged"        // the keyring fails its checks
	Conflict        Kind = "conflict"       // another writer was first
	NotModified     Kind = "not_modified"
	NotAMember      Kind = "not_a_member"
	NotAdmitted     Kind = "not_admitted"     // the identity never was a member
	NoSuchIdentity  Kind = "no_such_identity" // nobody of the vault has the id that was given
	NotOwner        Kind = "not_owner"        // only an owner may do it
	Revoked         Kind = "revoked"
	Denied          Kind = "denied"
	Unreachable     Kind = "unreachable"
	Misconfigured   Kind = "misconfigured"
	SignIn          Kind = "sign_in"
	KeeperRefused   Kind = "keeper_refused"
	OtherBuild      Kind = "other_build"
	Traced          Kind = "traced"       // a debugger or the like holds a process of Vigil
	MemoryLimit     Kind = "memory_limit" // the lock limit is too low for guarded memory
	Failed          Kind = "failed"
)

// traced is the error of a job that is refused because somebody traces a process.
func traced(err error) *Error {
	return &Error{Kind: Traced, Message: err.Error(), Next: NextTraced}
}

// NextTraced says what to do about a tracer.
const NextTraced = "End that program, and restart the daemon: vigilctl down, then vigilctl up. It could see what passes through."

// Error is a job that failed: a sentence without secrets, the kind to branch
// on, and what to do next.
type Error struct {
	Kind      Kind   `json:"kind"`
	Message   string `json:"message"`
	Next      string `json:"next"`
	RequestID string `json:"request_id"` // the KMS's or the backend's
	Caller    string `json:"caller"`     // who was denied, where the service says
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, &Error{Kind: k}) tell whether err is of kind k, and
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
