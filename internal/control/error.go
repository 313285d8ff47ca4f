package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"vigil/internal/fault"
)

// Code is the kind of failure of an Error.
type Code string

// The codes, with vigilctl's exit statuses.
const (
	CodeFailed          Code = "failed"           // 1
	CodeNotFound        Code = "not_found"        // 1: no such vault or key
	CodeExists          Code = "exists"           // 1: the vault, name or key is there already
	CodeAmbiguous       Code = "ambiguous"        // 1: several keys match
	CodeDamaged         Code = "damaged"          // 1: a file can't be read; nothing was changed
	CodeBadKeyFile      Code = "bad_key_file"     // 1: no private key, or none that Vigil reads
	CodeInterrupted     Code = "interrupted"      // 1: by the user
	CodeUsage           Code = "usage"            // 2
	CodeLocked          Code = "locked"           // 3
	CodeWrongPassphrase Code = "wrong_passphrase" // 4: the vault's
	CodeKeyPassphrase   Code = "key_passphrase"   // 4: a key file's, wrong or missing
	CodePassphrase      Code = "passphrase"       // 4: the vault's is needed, and didn't come with the request
	CodeNoDaemon        Code = "no_daemon"        // 5
	CodeOtherBuild      Code = "other_build"      // 5: the daemon is of another build
	CodeUnreachable     Code = "unreachable"      // 6: backend or KMS
	CodeRefused         Code = "refused"          // 7: by policy, by the KMS, by the user
	CodeRevoked         Code = "revoked"          // 7
)

// ExitStatus returns vigilctl's exit status for the code.
func (c Code) ExitStatus() int {
	switch c {
	case CodeUsage:
		return 2
	case CodeLocked:
		return 3
	case CodeWrongPassphrase, CodeKeyPassphrase, CodePassphrase:
		return 4
	case CodeNoDaemon, CodeOtherBuild:
		return 5
	case CodeUnreachable:
		return 6
	case CodeRefused, CodeRevoked:
		return 7
	default:
		return 1
	}
}

// Error is a failure as the user sees it: what happened, to what, and what to do
// next. It never contains a secret. A handler returns one to choose the code; any
// other error becomes CodeFailed with its text.
type Error struct {
	Code    Code     `json:"code"`
	Message string   `json:"message"`           // what happened, to what; no full stop, one line
	Next    string   `json:"next,omitempty"`    // what to do, as a sentence or a command
	Details []string `json:"details,omitempty"` // lines that belong to the message, such as what a name could mean
	// Change is that for which CodePassphrase asks. A request that names it makes no other.
	Change string `json:"change,omitempty"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Errorf returns an Error. If next is empty, it is what the system's error among args
// asks for, if one does.
func Errorf(code Code, next, format string, args ...any) *Error {
	for _, arg := range args {
		if err, ok := arg.(error); ok && next == "" {
			next = fault.NextAfter(err)
		}
	}
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Next: next}
}

// AsError returns err as an *Error: itself, one it wraps (with that one's code and
// next, and err's whole text), or one of CodeFailed; of CodeInterrupted if its context
// was canceled. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	message := strings.ReplaceAll(err.Error(), "\n", "; ") // errors that were joined
	var e *Error
	if errors.As(err, &e) {
		return &Error{Code: e.Code, Message: message, Next: e.Next, Details: e.Details, Change: e.Change}
	}
	if errors.Is(err, context.Canceled) {
		return &Error{Code: CodeInterrupted, Message: "interrupted", Next: "`vigilctl status` shows what state things are in."}
	}
	return &Error{Code: CodeFailed, Message: message, Next: fault.NextAfter(err)}
}

// maxListedMatches is how many keys an ambiguity lists.
const maxListedMatches = 10

// Ambiguous returns the error for a KEY that matches several keys, and lists them.
func Ambiguous(key string, matches []Key) *Error {
	e := Errorf(CodeAmbiguous, "Name one of them by its id or its SHA256 fingerprint.", "%q matches %d keys", key, len(matches))
	for i, k := range matches {
		if i == maxListedMatches {
			e.Details = append(e.Details, fmt.Sprintf("and %d more", len(matches)-i))
			break
		}
		e.Details = append(e.Details, fmt.Sprintf("%s  %s  %s  %s", k.ID, k.Fingerprint, k.Vault, k.Name))
	}
	return e
}

// NoSuchKey returns the error for a KEY without a match.
func NoSuchKey(key, vault string) *Error {
	where := "any vault"
	if vault != "" {
		where = "vault " + vault
	}
	return Errorf(CodeNotFound, "`vigilctl list` shows the keys.", "no key %q in %s", key, where)
}
