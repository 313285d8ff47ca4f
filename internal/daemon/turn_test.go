package daemon

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// What the daemon does unasked goes before what clients ask for, and who gives up
// waiting loses nobody the turn.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first turn
		if err := first.take(t.Context()); err != nil {
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
				first.give()
			}()
			synctest.Wait()
		}
		wait("client", first.take, t.Context())
		wait("gone", first.take, ctx)
		wait("client 2", first.take, t.Context())
		wait("unasked", first.takeFirst, t.Context())
		cancel()
		synctest.Wait()
		first.give()
		synctest.Wait()
		if want := []string{"unasked", "client", "client 2"}; !slices.Equal(order, want) {
			t.Errorf("order is %q, want %q", order, want)
		}
		if err := first.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := first.take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("taken with a context that has ended: %v", err)
		}
	})
}
