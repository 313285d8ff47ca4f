package vault

import (
	"context"
	"errors"
	"fmt"

	"vigil/internal/control"
	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/opener"
)

// codes maps the kinds of an opener's errors to what the user sees.
var codes = map[opener.Kind]control.Code{
	opener.WrongPassphrase: control.CodeWrongPassphrase,
	opener.KeyPassphrase:   control.CodeKeyPassphrase,
	opener.BadInput:        control.CodeUsage,
	opener.BadKeyFile:      control.CodeBadKeyFile,
	opener.Missing:         control.CodeDamaged,
	opener.Exists:          control.CodeExists,
	opener.Damaged:         control.CodeDamaged,
	opener.NotAMember:      control.CodeRevoked,
	opener.NotAdmitted:     control.CodeRefused,
	opener.NoSuchIdentity:  control.CodeNotFound,
	opener.NotOwner:        control.CodeRefused,
	opener.Revoked:         control.CodeRevoked,
	opener.Denied:          control.CodeRefused,
	opener.Unreachable:     control.CodeUnreachable,
	opener.SignIn:          control.CodeUnreachable,
	opener.OtherBuild:      control.CodeOtherBuild,
	opener.Traced:          control.CodeRefused,
}

// of begins an error about a vault; about none, if it has no name.
func of(vault string) string {
	if vault == "" {
		return ""
	}
	return fmt.Sprintf("vault %q: ", vault)
}

// openerError returns an opener's failure as the user sees it. It wraps err. A failure
// that is about no vault in particular has an empty name.
func openerError(vault string, err error) error {
	var e *opener.Error
	if !errors.As(err, &e) {
		if errors.Is(err, context.Canceled) {
			return control.Errorf(control.CodeInterrupted, "`vigilctl status` shows what state things are in; run it again.", "%sit was interrupted", of(vault))
		}
		return fmt.Errorf("%s%w", of(vault), err)
	}
	code, ok := codes[e.Kind]
	if !ok {
		code = control.CodeFailed
	}
	message, next := e.Message, e.Next
	if e.Kind == opener.Missing {
		message = fmt.Sprintf("a part of the keyring of vault %q isn't in its backend: %s", vault, e.Message)
		next = "Nothing was changed. Put it back from a backup: without it the vault can't be opened."
	}
	return &failure{&control.Error{Code: code, Message: message, Next: next}, e}
}

// keeperError is openerError for a keeper's failure.
func keeperError(vault string, err error) error {
	c := &control.Error{Code: control.CodeFailed, Message: of(vault) + err.Error()}
	var traced *guard.TracedError
	switch {
	case errors.As(err, &traced):
		c.Code, c.Next = control.CodeRefused, opener.NextTraced
	case errors.Is(err, keeper.ErrGone):
		c.Code, c.Next = control.CodeLocked, "Unlock it again: vigilctl unlock --vault "+vault
	case errors.Is(err, keeper.ErrDamaged):
		c.Code, c.Next = control.CodeDamaged, "Nothing was changed. Put back a good copy of the keyring and of the vault file."
	case errors.Is(err, keeper.ErrRollback):
		c.Code, c.Next = control.CodeRefused, "Nothing was changed. Somebody put an older or another keyring in place; put the newest one back."
	case errors.Is(err, keeper.ErrNoIdentity):
		c.Code, c.Next = control.CodeRevoked, "Ask an owner of the vault to admit this device again."
	case errors.Is(err, keeper.ErrReader):
		c.Code, c.Next = control.CodeRefused, "Nothing was changed. An owner can remove this device's identity and admit it again as a member."
	case errors.Is(err, keeper.ErrLoosens):
		c.Code, c.Message = control.CodePassphrase, err.Error()
	case errors.Is(err, keeper.ErrFull):
		c.Next = opener.NextLocked
	}
	return &failure{c, err}
}

// failure is a control error that wraps its cause.
type failure struct {
	shown *control.Error
	cause error
}

func (f *failure) Error() string   { return f.shown.Error() }
func (f *failure) Unwrap() []error { return []error{f.shown, f.cause} }
