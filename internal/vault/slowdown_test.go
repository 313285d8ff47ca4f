package vault

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vigil/internal/config"
	"vigil/internal/opener"
)

// TestSlowDown: the delay starts at 0.1 s, doubles up to 10 s and ends with a right
// passphrase; other failures don't count.
func TestSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := New(nil, config.Vault{Name: "default"})
		wrong := openerError("default", &opener.Error{Kind: opener.WrongPassphrase, Message: "wrong"})
		waits := func() time.Duration {
			begin := time.Now()
			if err := v.slowDown(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(begin)
		}
		if got := waits(); got != 0 {
			t.Fatalf("the first attempt waits for %v", got)
		}
		for i, want := range []time.Duration{
			100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond,
			3200 * time.Millisecond, 6400 * time.Millisecond, 10 * time.Second, 10 * time.Second,
		} {
			v.noteAttempt(wrong)
			v.noteAttempt(openerError("default", &opener.Error{Kind: opener.Unreachable}))
			if got := waits(); got != want {
				t.Fatalf("after %d failures it waits for %v, want %v", i+1, got, want)
			}
		}
		v.noteAttempt(wrong)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := v.slowDown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a waiting attempt outlives its context: %v", err)
		}
		v.noteAttempt(nil)
		if got := waits(); got != 0 {
			t.Fatalf("after a success it waits for %v", got)
		}
		v.noteAttempt(wrong)
		if got := waits(); got != 100*time.Millisecond {
			t.Fatalf("after a success and a failure it waits for %v", got)
		}
	})
}
