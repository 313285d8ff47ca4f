package keeper

import (
	"errors"
	"fmt"
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
)

// Status begins a reply. Every status but StatusOK is followed by a sentence, and
// stands for an error.
type Status byte

// The statuses that stand for no error to branch on.
const (
	StatusOK     Status = iota
	StatusFailed        // for whatever reason
)

// kinds are the errors, at the places of their statuses.
var kinds = [...]error{
	StatusFailed: errors.New("keeper failed"),
	ErrNoKey, ErrUnsupported, ErrBadRequest, ErrWrongPassphrase, ErrFull, ErrRefused,
	ErrDamaged, ErrRollback, ErrNoIdentity, ErrReader,
}

// StatusOf returns the status that tells the front of err, which isn't nil.
func StatusOf(err error) Status {
	for s, kind := range kinds {
		if kind != nil && errors.Is(err, kind) {
			return Status(s)
		}
	}
	return StatusFailed
}

// replyError is a failure that the keeper reported: its sentence, and the kind to branch on.
type replyError struct {
	kind error
	text string
}

func (e *replyError) Error() string { return e.text }
func (e *replyError) Unwrap() error { return e.kind }

func errorOf(s Status, text []byte) error {
	if int(s) >= len(kinds) || kinds[s] == nil {
		return fmt.Errorf("keeper replied with unknown status %d", s)
	}
	return &replyError{kind: kinds[s], text: string(text)}
}
