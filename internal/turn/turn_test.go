package turn

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// The daemon's own jobs go ahead of clients', and a waiter that gives up doesn't lose
// the turn.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first Turn
		if err := first.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var order []string
		wait := func(name string, take func(context.Context) error, ctx context.Context) {
			go func() {
				if err := take(ctx); err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				}
				order = append(order, name)
				first.Give()
			}()
			synctest.Wait()
		}
		wait("client", first.Take, t.Context())
		wait("gone", first.Take, ctx)
		wait("client 2", first.Take, t.Context())
		wait("unasked", first.TakeFirst, t.Context())
		cancel()
		synctest.Wait()
		first.Give()
		synctest.Wait()
		if want := []string{"unasked", "client", "client 2"}; !slices.Equal(order, want) {
			t.Errorf("order is %q, want %q", order, want)
		}
		if err := first.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := first.Take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("taken with a context that has ended: %v", err)
		}
	})
}
