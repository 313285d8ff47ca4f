// Package sshagent is the front side of the SSH agent (RFC 9987): it reads
// messages from clients, decides with package policy, has keepers sign, and
// answers. It holds no private key and never decodes a message that carries one.
//
// A signature takes this way: Serve reads the request (session.go), sign looks
// the key up in the current snapshot and asks policy (sign.go), the key's Signer
// appends the signature behind the reply's header, and one write sends it.
//
// A key added by ssh-add takes this way: Serve reads its undecoded body into
// guarded memory (secret.go), add hands it to the Keeper and publishes the public
// facts the Keeper found in it (added.go).
//
// The agent's state is an immutable snapshot behind an atomic pointer
// (snapshot.go): signing and listing take no lock.
package sshagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
	"vigil/internal/pubkey"
)

// Limits and times.
const (
	// MessageTimeout is how long a message may take from its first byte to its
	// last, and a reply to be taken. A peer that is slower is cut off. Between
	// messages a connection may be idle for ever.
	MessageTimeout = 30 * time.Second

	// MaxSecretBodies is how many messages with secrets of the largest size are
	// received at once, or as many more as they are smaller: it bounds the guarded
	// memory that they hold. For the next one an unfinished one is cut off.
	MaxSecretBodies = 8
	// MaxUnanswered is how many bytes of memory the other messages hold that aren't
	// there at once or are large: 64 of the largest. For the next one, too, an
	// unfinished one is cut off.
	MaxUnanswered = 16 << 20
	// secretChunk is what a message with a secret takes of guarded memory at
	// first, in bytes: most keys fit.
	secretChunk = 4 << 10

	// QuestionTimeout is how long a question stands, and waits to be shown: sshd
	// waits no longer for a login (LoginGraceTime).
	QuestionTimeout = 2 * time.Minute
	// maxWaiting is how many requests of one process may wait for a person or for
	// the delay after a wrong passphrase, and maxAllWaiting how many in all. More
	// are refused: nobody answers so many.
	maxWaiting    = 8
	maxAllWaiting = 64
	// minSigning is how many signatures a keeper is asked for at once where there
	// are fewer processors: as many as keep its workers busy. Of the processes that
	// have more to be signed each has its turn.
	minSigning = 4
	// ownPID is whom the agent's own changes are done for, where processes take turns.
	ownPID = -1

	// MaxAddedBytes is how much of added keys' comments, destinations and
	// certificates the agent keeps, in bytes.
	MaxAddedBytes = 4 << 20

	// MaxAdded is the most keys that ssh-add can add: more could not be listed.
	MaxAdded = agentproto.MaxIdentities

	// CertificateGrace is how long a certificate stays after its validity ended
	// (OpenSSH 10.1: CERT_EXPIRY_GRACE).
	CertificateGrace = 5 * time.Minute

	// UnlockDelay is what each failed unlock adds to the delay before its answer,
	// up to MaxUnlockDelay (OpenSSH: process_lock_agent).
	UnlockDelay    = 100 * time.Millisecond
	MaxUnlockDelay = 10 * time.Second

	// sweepInterval is how late at most the sweep notices that time went on while
	// the machine slept, where timers stop. Uses check the time themselves.
	sweepInterval = time.Minute

	// smallBuffer is the size of a fresh request or reply buffer in bytes: enough
	// for any login. keepBuffer is the largest that is kept for the next request.
	smallBuffer = 2 << 10
	keepBuffer  = 16 << 10
)

// Errors that Keepers return and that something depends on.
var (
	// ErrNoKey reports a key handle that the keeper does not know (any more).
	ErrNoKey = errors.New("the keeper does not have the key")
)

// Signer signs with keys it holds.
type Signer interface {
	// Sign appends to dst the signature blob (RFC 4253 section 6.6) of data by a
	// key, and returns the extended slice. flags are agentproto's; the signer
	// refuses RSA without one of them. It must not keep data or dst. An unknown
	// key gives ErrNoKey.
	Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error)
}

// Keeper holds the keys that ssh-add added, and the passphrase of ssh-add -x.
// Calls come concurrently.
type Keeper interface {
	Signer

	// Add decodes the body of an ADD_IDENTITY or, with constrained, an
	// ADD_ID_CONSTRAINED, and holds the key. It must not keep body, which the
	// caller wipes. Each call gives a new handle, for a key held already too: the
	// caller removes the old one. On error nothing was added.
	Add(ctx context.Context, body *guard.Buffer, constrained bool) (Added, error)

	// Remove wipes a key. An unknown one is no error.
	Remove(ctx context.Context, key uint64) error

	// RemoveAll wipes all keys that Add added.
	RemoveAll(ctx context.Context) error

	// Lock remembers the passphrase in the body of a LOCK; Unlock compares with
	// it and forgets it when it is the same. An empty passphrase, a second Lock,
	// and an Unlock that is wrong or not needed are errors.
	Lock(ctx context.Context, body *guard.Buffer) error
	Unlock(ctx context.Context, body *guard.Buffer) error
}

// Added is what a Keeper found in the message that added a key: public facts.
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

// Prompter asks a human.
type Prompter interface {
	// Confirm returns nil when the human said yes. The error's text becomes the
	// reason of the refusal ("nobody answered", "no way to ask"). The context ends
	// when the client that asks goes away.
	Confirm(ctx context.Context, q Question) error
}

// Question is what a human is asked before a key is used. Peers chose some of
// its texts: they are cleaned of everything that doesn't print.
type Question struct {
	Comment     string // the key's name
	Fingerprint string // SHA256:…
	Vault       string // empty for a key that ssh-add added
	Purpose     string // what is signed: "login as root to db1", "signature for git"; empty when unknown
	Peer        Peer   // the program that asks, Program filled in
}

// maxAsked is how many characters of each text a question shows: a prompt is cut off
// at its end, and a long comment mustn't push out what the key is used for.
const maxAsked = 200

// String returns the question as ssh-agent puts it, with what else is known.
func (q Question) String() string {
	s := fmt.Sprintf("Allow use of key %.*s?\nKey fingerprint %s.", maxAsked, q.Comment, q.Fingerprint)
	if q.Purpose != "" {
		s += fmt.Sprintf("\nFor: %.*s", maxAsked, q.Purpose)
	}
	if q.Peer.Program != "" {
		s += fmt.Sprintf("\nAsked by: %.*s (process %d)", maxAsked, pubkey.CleanComment(q.Peer.Program), q.Peer.PID)
	}
	return s
}

// Unlocker is asked to open a vault when one of its keys is needed.
type Unlocker interface {
	// Unlock returns nil when the vault is open now and SetVault was called with
	// its keys. The error's text becomes the reason of the refusal.
	Unlock(ctx context.Context, vault string, q Question) error
}

// Refusals takes note of every request that was refused, for `vigilctl why`.
type Refusals interface {
	Refuse(Refusal)
}

// Refusal says what was refused to whom, and why. On the wire the client only
// sees a failure.
type Refusal struct {
	Time        time.Time
	Peer        Peer
	Request     string // "sign", "add", "remove", "lock", …
	Fingerprint string // SHA256:… of the key, or empty
	Comment     string // the key's, or empty
	Vault       string // the key's, or empty
	Reason      string // a sentence without its full stop
}

// Peer is the process at the other end of a connection.
type Peer struct {
	PID     int
	UID     int
	Program string // path of its executable, or empty when unknown or not looked up yet
}

// VaultKey is a key of a vault as the front knows it.
type VaultKey struct {
	ID          uint64 // handle for Signer
	Signer      Signer // nil while the vault is locked; comparable
	Refusal     string // with Signer nil: why the key can't be used even when the vault is unlocked ("the item is damaged"); empty otherwise
	Blob        []byte // public key
	Certificate []byte // nil, or a certificate for it: listed after the key, signed with by it
	Comment     string
	To          []agentproto.Destination // none: anywhere
	Confirm     bool
}

// Info is what the agent says about one of its keys.
type Info struct {
	Blob        []byte
	Fingerprint string
	Comment     string
	Vault       string        // empty for a key that ssh-add added
	Left        time.Duration // of its lifetime; 0: unlimited
	Confirm     bool
	To          []agentproto.Destination
}
