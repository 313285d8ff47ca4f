package keeper

import (
	"errors"
	"fmt"
)

// Errors that the front branches on. They wrap the keeper's own text, which never
// contains a secret.
var (
	// ErrNoKey: no key has that number.
	ErrNoKey = errors.New("no such key")
	// ErrUnsupported: the key's type, or the signature flags, aren't supported.
	ErrUnsupported = errors.New("not supported")
	// ErrBadRequest: the body can't be decoded or is inconsistent.
	ErrBadRequest = errors.New("malformed request")
	// ErrWrongPassphrase: it isn't the passphrase of ssh-add -x.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrFull: the lock limit allows no more guarded memory.
	ErrFull = errors.New("guarded memory is full")
	// ErrRefused: impossible in this state, such as locking twice.
	ErrRefused = errors.New("refused")
	// ErrDamaged: the keyring or an item fails its check.
	ErrDamaged = errors.New("damaged")
	// ErrRollback: the keyring is older than what was seen before, or a fork of it.
	ErrRollback = errors.New("older than what this device has seen")
	// ErrNoIdentity: the keyring doesn't admit this identity.
	ErrNoIdentity = errors.New("access is gone")
	// ErrReader: the identity is a reader and can't change the vault.
	ErrReader = errors.New("read only")
	// ErrPIN: the security key asks for its PIN.
	ErrPIN = errors.New("PIN is asked for")
	// ErrLoosens: nobody has consented to a revision that lets its key do more.
	ErrLoosens = errors.New("lets it do more")
	// ErrGone: the keeper has ended.
	ErrGone = errors.New("keeper has ended")
)

// Status begins a reply. Every status except StatusOK stands for an error; its text
// follows.
type Status byte

// Statuses without an error to branch on.
const (
	StatusOK     Status = iota
	StatusFailed        // for any other reason
)

// kinds are the errors, indexed by status.
var kinds = [...]error{
	StatusFailed: errors.New("keeper failed"),
	ErrNoKey, ErrUnsupported, ErrBadRequest, ErrWrongPassphrase, ErrFull, ErrRefused,
	ErrDamaged, ErrRollback, ErrNoIdentity, ErrReader, ErrPIN, ErrLoosens,
}

// StatusOf returns the status for err, which isn't nil.
func StatusOf(err error) Status {
	for s, kind := range kinds {
		if kind != nil && errors.Is(err, kind) {
			return Status(s)
		}
	}
	return StatusFailed
}

// replyError is a failure that the keeper reported: its text, and the kind to branch on.
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
