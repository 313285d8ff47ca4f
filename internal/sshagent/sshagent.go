// Package sshagent is the front side of the SSH agent (RFC 9987): it reads
// messages from clients, decides with package policy, has keepers sign, and
// answers. It holds no private key and never decodes a message that carries one.
//
// To sign, Serve reads the request (session.go), sign looks the key up in the
// current snapshot and asks policy (sign.go), the key's Signer appends the
// signature to the reply's header, and one write sends it.
//
// To add a key for ssh-add, Serve reads the message's undecoded body into guarded
// memory (secret.go), and add hands it to the Keeper and publishes the public
// facts that the Keeper found in it (added.go).
//
// The agent's state is an immutable snapshot behind an atomic pointer
// (snapshot.go): signing and listing take no lock.
package sshagent

import (
	"context"
	"errors"
	"os"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
	"vigil/internal/policy"
)

// Limits and times.
const (
	// MessageTimeout is how long the peer may take to send a message, from its
	// first byte to its last, and to read a reply. A slower peer is cut off.
	// Between messages a connection may be idle forever.
	MessageTimeout = 30 * time.Second

	// MaxSecretBodies bounds the guarded memory of messages with secrets, as a
	// number of messages of the largest size. For one more, an unfinished message
	// is cut off.
	MaxSecretBodies = 8
	// MaxUnanswered bounds the memory of the other messages that don't arrive at
	// once or are large, in bytes: 64 of the largest. For one more, an unfinished
	// message is cut off.
	MaxUnanswered = 16 << 20
	// secretChunk is the guarded memory that a message with a secret takes at
	// first, in bytes: enough for most keys.
	secretChunk = 4 << 10

	// QuestionTimeout is how long a question waits to be shown and answered: sshd
	// waits no longer for a login (LoginGraceTime).
	QuestionTimeout = 2 * time.Minute
	// maxWaiting is how many requests of one process may wait for a person or for
	// the delay after a wrong passphrase, and maxAllWaiting how many in all. More
	// are refused: nobody answers that many.
	maxWaiting    = 8
	maxAllWaiting = 64
	// maxAskedData is the most data that a person is asked to unlock a vault for, in
	// bytes: logins and signatures of files have less. Any number of requests may wait
	// for the one prompt, and these don't take the memory for large messages.
	maxAskedData = 16 << 10
	// minSigning is how many signatures a keeper is asked for at once if there are
	// fewer processors: enough to keep its workers busy. Processes with more
	// requests take turns.
	minSigning = 4
	// ownPID stands for the agent itself where processes take turns.
	ownPID = -1

	// MaxAddedBytes is how much of added keys' comments, destinations and
	// certificates the agent keeps, in bytes.
	MaxAddedBytes = 4 << 20

	// MaxAdded is the most keys that ssh-add can add: more could not be listed.
	MaxAdded = agentproto.MaxIdentities

	// CertificateGrace is how long a vault's certificate stays after it has expired
	// (OpenSSH 10.1's ssh-add: CERT_EXPIRY_GRACE).
	CertificateGrace = 5 * time.Minute

	// UnlockDelay is what each failed unlock adds to the delay before its answer,
	// up to MaxUnlockDelay (OpenSSH: process_lock_agent).
	UnlockDelay    = 100 * time.Millisecond
	MaxUnlockDelay = 10 * time.Second

	// sweepInterval bounds how late the sweep notices an expiry after the machine
	// slept, as timers stop during sleep. Each use of a key checks the time itself.
	sweepInterval = time.Minute

	// smallBuffer is the size of a fresh request or reply buffer in bytes: enough
	// for any login. keepBuffer is the largest that is kept for the next request.
	smallBuffer = 2 << 10
	keepBuffer  = 16 << 10
)

// Errors of a Keeper that the agent acts on.
var (
	// ErrNoKey reports a key handle that the keeper doesn't know, or no longer knows.
	ErrNoKey = errors.New("the keeper does not have the key")
	// ErrPIN reports a security key that asks for its PIN.
	ErrPIN = errors.New("a PIN is asked for")
)

// Signer signs with keys it holds.
type Signer interface {
	// Sign appends to dst the signature blob (RFC 4253 section 6.6) of data by a
	// key, and returns the extended slice. flags are agentproto's, FlagRSASHA1
	// included; the signer refuses RSA without one of them. It must not keep data or dst. The error
	// for an unknown key is ErrNoKey.
	Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error)

	// SignThrough is Sign for a key in a security key. The other end of helper has been
	// passed to ssh-sk-helper, which is to use provider. The device's PIN is read from
	// pin, a pipe; nil: without one. The error is ErrPIN if the device asks for it.
	SignThrough(ctx context.Context, key uint64, data []byte, provider string, helper, pin *os.File, dst []byte) ([]byte, error)
}

// SecurityKeys has security keys sign. See package securitykey.
type SecurityKeys interface {
	// Provider returns the provider to sign with for one that ssh-add named, "" if it
	// named none. remote is set if the agent was forwarded.
	Provider(named string, remote bool) (string, error)

	// Run shows text to the person whose touch is waited for, starts ssh-sk-helper, and
	// calls use with a conversation with it. It ends with ctx.
	Run(ctx context.Context, text string, use func(helper *os.File) error) error

	// RunWithPIN is Run with a question for the device's PIN in place of the text. use
	// also gets the pipe that the answer comes through, which isn't read here.
	RunWithPIN(ctx context.Context, question string, use func(helper, pin *os.File) error) error

	// Next returns what to do about an error of the others, or "".
	Next(error) string
}

// Keeper holds the keys that ssh-add added, and the passphrase of ssh-add -x.
// Its methods may be called concurrently.
type Keeper interface {
	Signer

	// Add decodes the body of an ADD_IDENTITY or, with constrained, an
	// ADD_ID_CONSTRAINED, and holds the key. It must not keep body, which the
	// caller wipes. Each call returns a new handle, even for a key it already
	// holds: the caller removes the old one. On error nothing was added.
	Add(ctx context.Context, body *guard.Buffer, constrained bool) (Added, error)

	// Remove wipes a key. It is not an error if the key is unknown.
	Remove(ctx context.Context, key uint64) error

	// RemoveAll wipes all keys that Add added.
	RemoveAll(ctx context.Context) error

	// Lock remembers the passphrase in the body of a LOCK; Unlock compares its
	// own with it, and forgets it if they are equal. An empty or wrong passphrase,
	// a second Lock, and an Unlock without a Lock are errors.
	Lock(ctx context.Context, body *guard.Buffer) error
	Unlock(ctx context.Context, body *guard.Buffer) error
}

// Added holds the public facts that a Keeper found in a message that adds a key.
type Added struct {
	Key         uint64 // handle
	Blob        []byte // public key, or certificate when the message had one
	Comment     string
	Constraints agentproto.Constraints
}

// Bodies allocates guarded memory for messages with secrets; *guard.Slab is one.
type Bodies interface {
	Alloc(n int) (*guard.Buffer, error)
}

// Unlocker unlocks a vault when one of its keys is needed.
type Unlocker interface {
	// Unlock returns nil if the vault is now unlocked and SetVault was called with
	// its keys. The error's text becomes the reason of the refusal.
	Unlock(ctx context.Context, vault string, q Question) error
}

// Refusals records every refused request, for `vigilctl why`.
type Refusals interface {
	Refuse(Refusal)
}

// Refusal reports what was refused to whom, and why. The client itself only sees
// SSH_AGENT_FAILURE.
type Refusal struct {
	Time        time.Time
	Peer        Peer
	Request     string // "sign", "add", "remove", "lock", …
	Fingerprint string // SHA256:… of the key, or empty
	Comment     string // the key's, or empty
	Vault       string // the key's, or empty
	Purpose     string // what was to be signed, as in Question
	Host        string // SHA256:… of the key of the host to log in to, or empty
	From        string // SHA256:… of the key of the host the agent was forwarded to, or empty
	Reason      string // a sentence without its full stop
	Next        string // what to do about it, a sentence, or empty
}

// Peer is the process at the other end of a connection.
type Peer struct {
	PID     int
	UID     int
	Program string // path of its executable, or empty if unknown or not looked up yet
}

// VaultKey is a key of a vault as the front knows it.
type VaultKey struct {
	ID          uint64 // handle for Signer
	Signer      Signer // nil while the vault is locked; comparable
	Refusal     string // if Signer is nil: why the key can't be used even after an unlock ("the item is damaged"), or empty
	Blob        []byte // public key
	Certificate []byte // nil, or a certificate for the key, listed after it
	Comment     string
	To          []agentproto.Destination // none: anywhere
	Confirm     bool
	Approve     policy.Approve // which uses a person is asked for
	AllowSHA1   bool           // RSA signatures with SHA-1
}

// Info describes one of the agent's keys.
type Info struct {
	Blob        []byte
	Fingerprint string
	Comment     string
	Vault       string        // empty for a key that ssh-add added
	Left        time.Duration // of its lifetime; 0: unlimited
	Confirm     bool
	Approve     policy.Approve
	AllowSHA1   bool // RSA signatures with SHA-1; false for other types
	To          []agentproto.Destination
}
