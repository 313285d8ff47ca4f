package fault

import (
	"errors"
	"testing"
)

func TestErrorIsItsKindAndItsCause(t *testing.T) {
	cause := errors.New("token expired")
	var err error = &Error{Kind: ErrSignIn, Of: "master key", Op: "Decrypt", RequestID: "r-1", Err: cause}
	for _, target := range []error{ErrUnreachable, ErrSignIn, cause} {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is(%v, %v) = false", err, target)
		}
	}
	if errors.Is(err, ErrRevoked) {
		t.Error("an unreachable key counts as revoked")
	}
}

func TestWhatAnErrorSays(t *testing.T) {
	for _, tt := range []struct {
		err  Error
		want string
	}{
		{Error{Kind: ErrSignIn, Of: "master key", Op: "Decrypt", RequestID: "r-1", Err: errors.New("token expired")}, "Decrypt: sign in needed: token expired (request id r-1)"},
		{Error{Kind: ErrRevoked, Of: "master key", Op: "Decrypt"}, "Decrypt: master key revoked"},
		{Error{Kind: ErrDenied, Of: "keyring store", Op: "put deks"}, "put deks: access to the keyring store denied"},
		{Error{Kind: ErrNotFound, Of: "keyring store", Op: "get deks", Err: errors.New("open …")}, "the keyring store has no deks"},
		{Error{Kind: ErrConflict, Of: "keyring store", Op: "put deks"}, "put deks: another writer was first"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("it says %q, want %q", got, tt.want)
		}
	}
}
