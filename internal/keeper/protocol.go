package keeper

import (
	"errors"
	"fmt"

	"vigil/internal/ipc"
)

// A message (package ipc) is an op or a status, then a body in the types of RFC
// 4251. The front sends one request on a connection and waits for its reply before
// it sends the next, so a connection needs no request numbers and a worker of the
// keeper no queue. On the first connection hellos come first, and then a reply
// without a request: the keeper's report.

// op names a request.
type op byte

const (
	opSign      op = iota + 1 // key, flags, data → signature blob
	opAdd                     // body of SSH_AGENTC_ADD_IDENTITY → Added
	opAddBound                // body of SSH_AGENTC_ADD_ID_CONSTRAINED → Added
	opRemove                  // key
	opRemoveAll               //
	opLock                    // body of SSH_AGENTC_LOCK
	opUnlock                  // body of SSH_AGENTC_UNLOCK
	opAttach                  // kind, then a descriptor → what the opener handed over
	opFile                    // vault file
	opFileDelta               // what changes of it
	opLoad                    // what is known, members, deks, what waits → Loaded
	opSeal                    // draft or key, item, parents, meta → Sealed
	opVerify                  // → problems
	opSealLine                // line, parents → Sealed
	opCollect                 // time → deks
	opDropDraft               // draft
	opDeks                    // update, time → deks
	opRotation                // step → members or deks
	opDeadlines               // idle, the moment at which the lease ends
	opStats                   // → Stats
)

// status begins a reply. Every status but statusOK is followed by a sentence.
type status byte

const (
	statusOK status = iota
	statusNoKey
	statusUnsupported
	statusBadRequest
	statusWrongPassphrase
	statusFull
	statusRefused
	statusDamaged
	statusRollback
	statusNoIdentity
	statusReader
	statusFailed
)

// Errors that the front branches on. The keeper's own sentence is wrapped
// around them; it never holds a secret.
var (
	// ErrNoKey: no key has that number (any more).
	ErrNoKey = errors.New("no such key")
	// ErrUnsupported: the key's type, or the signature flags, aren't supported.
	ErrUnsupported = errors.New("not supported")
	// ErrBadRequest: the body can't be decoded, or its parts don't belong together.
	ErrBadRequest = errors.New("malformed request")
	// ErrWrongPassphrase: that isn't the passphrase of ssh-add -x.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrFull: the guarded memory that the lock limit allows is used up.
	ErrFull = errors.New("guarded memory is full")
	// ErrRefused: not in this state, such as locking what is locked.
	ErrRefused = errors.New("refused")
	// ErrDamaged: the keyring or an item fails its check.
	ErrDamaged = errors.New("damaged")
	// ErrRollback: the keyring is older than, or a fork of, what was seen before.
	ErrRollback = errors.New("older than what this device has seen")
	// ErrNoIdentity: the keyring doesn't let this identity in (any more).
	ErrNoIdentity = errors.New("access is gone")
	// ErrReader: the identity may use what is in the vault, and change nothing.
	ErrReader = errors.New("read only")
	// ErrGone: the keeper has ended.
	ErrGone = errors.New("keeper has ended")

	errFailed = errors.New("keeper failed")
)

// kinds maps a status to the error it stands for, both ways.
var kinds = [...]error{
	statusNoKey:           ErrNoKey,
	statusUnsupported:     ErrUnsupported,
	statusBadRequest:      ErrBadRequest,
	statusWrongPassphrase: ErrWrongPassphrase,
	statusFull:            ErrFull,
	statusRefused:         ErrRefused,
	statusDamaged:         ErrDamaged,
	statusRollback:        ErrRollback,
	statusNoIdentity:      ErrNoIdentity,
	statusReader:          ErrReader,
	statusFailed:          errFailed,
}

// statusOf finds the status that tells the front of err.
func statusOf(err error) status {
	for s, kind := range kinds {
		if kind != nil && errors.Is(err, kind) {
			return status(s)
		}
	}
	return statusFailed
}

// replyError is a failure that the keeper reported: its sentence, and the kind to branch on.
type replyError struct {
	kind error
	text string
}

func (e *replyError) Error() string { return e.text }
func (e *replyError) Unwrap() error { return e.kind }

func errorOf(s status, text []byte) error {
	if int(s) >= len(kinds) || kinds[s] == nil {
		return fmt.Errorf("keeper replied with unknown status %d", s)
	}
	return &replyError{kind: kinds[s], text: string(text)}
}

const (
	// headerLen is a length and an op or a status.
	headerLen = ipc.HeaderLen + 1
	// maxAgentBody bounds what ssh can make the keeper read: one agent message.
	maxAgentBody = 256 << 10
	// maxMessage bounds what the front can: a vault file, or both keyring objects.
	maxMessage = 512 << 20
	// maxErrorText is how much of an error's sentence is sent.
	maxErrorText = 1 << 10
	// smallMessage is the size of the buffer each end keeps for a connection: a
	// signature request with its reply (userauth requests have about 300 bytes,
	// git commits and certificates a few thousand).
	smallMessage = 8 << 10
)

// attachKind says what an opener hands over through its private socketpair.
type attachKind byte

const (
	attachIdentity attachKind = iota + 1 // the identity's private halves
	attachKeys                           // imported or generated keys
)
