package job

import (
	"errors"

	"vigil/internal/backend"
	"vigil/internal/envelope"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/keyfile"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/passphrase"
)

// sorted converts an error to one with the kind to branch on, and what to do next.
func sorted(err error) *opener.Error {
	var e *opener.Error
	var f *fault.Error
	var limit *guard.LockLimitError
	var traced *guard.TracedError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &f):
		return &opener.Error{Kind: faultKind(f.Kind), Message: err.Error(), Next: f.Next, RequestID: f.RequestID, Caller: f.Caller}
	case errors.As(err, &traced):
		return &opener.Error{Kind: opener.Traced, Message: err.Error(), Next: opener.NextTraced}
	case errors.As(err, &limit):
		return &opener.Error{Kind: opener.MemoryLimit, Message: err.Error(), Next: opener.NextLocked}
	case keyring.StageOf(err) == keyring.StageVersion:
		return &opener.Error{Kind: opener.Damaged, Message: err.Error(), Next: "Nothing was changed. A newer Vigil wrote it: upgrade."}
	case keyring.StageOf(err) != "":
		return &opener.Error{Kind: opener.Damaged, Message: err.Error(), Next: "Nothing was changed. Put back a good copy of the keyring."}
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return &opener.Error{Kind: k.kind, Message: err.Error(), Next: k.next}
		}
	}
	return &opener.Error{Kind: opener.Failed, Message: err.Error(), Next: fault.NextAfter(err)}
}

// kinds are the errors recognized with errors.Is; the first match counts.
var kinds = []struct {
	err  error
	kind opener.Kind
	next string
}{
	{keyfile.ErrPassphraseNeeded, opener.KeyPassphrase, "Give the key file's passphrase."},
	{keyfile.ErrWrongPassphrase, opener.KeyPassphrase, "Try the key file's passphrase again."},
	{keyfile.ErrPublicKey, opener.BadKeyFile, "Name the private key file."},
	{keyfile.ErrNotAKey, opener.BadKeyFile, "docs/import.md lists the formats that are read."},
	{keyfile.ErrMultipleKeys, opener.BadKeyFile, ""},
	{keyfile.ErrTooLarge, opener.BadKeyFile, ""},
	{keyfile.ErrUnsupported, opener.BadKeyFile, "docs/import.md says what is read and what is refused."},
	{keyfile.ErrDamaged, opener.BadKeyFile, ""},
	{keyfile.ErrMismatch, opener.BadKeyFile, ""},
	{passphrase.ErrEmpty, opener.BadInput, "Give a passphrase that isn't empty."},
	{passphrase.ErrLong, opener.BadInput, "Give a shorter one."},
	{passphrase.ErrUTF8, opener.BadInput, "Give one in UTF-8."},
	{envelope.ErrWrongKey, opener.Damaged, "Nothing was changed. Put back a good copy of the keyring and the vault file."},
	{envelope.ErrDamaged, opener.Damaged, "Nothing was changed. Put back a good copy of the keyring and the vault file."},
	{envelope.ErrHalves, opener.Damaged, "Nothing was changed. Put back a good copy of the keyring."},
	{backend.ErrRaces, opener.Unreachable, "Try again."},
}

// faultKind returns the kind of a failed call to a master key or a backend.
func faultKind(kind error) opener.Kind {
	switch kind {
	case fault.ErrSignIn:
		return opener.SignIn
	case fault.ErrRevoked:
		return opener.Revoked
	case fault.ErrDenied:
		return opener.Denied
	case fault.ErrUnreachable:
		return opener.Unreachable
	case fault.ErrNotFound:
		return opener.Missing
	case fault.ErrConflict:
		return opener.Conflict
	}
	return opener.Misconfigured
}
