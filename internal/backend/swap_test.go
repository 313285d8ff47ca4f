package backend_test

import (
	"errors"
	"slices"
	"testing"

	"vigil/internal/backend"
	"vigil/internal/fault"
	"vigil/internal/opener"
)

func TestRetrySwap(t *testing.T) {
	failed := errors.New("failed")
	conflicts := func(n int) []error { return slices.Repeat([]error{fault.ErrConflict}, n) }
	for _, tt := range []struct {
		name       string
		tries      []error
		catchUp    error
		want       error
		wantCaught int
	}{
		{"first", []error{nil}, nil, nil, 0},
		{"behind two others", append(conflicts(2), nil), nil, nil, 2},
		{"behind another, as an opener says", []error{&opener.Error{Kind: opener.Conflict, Message: "late"}, nil}, nil, nil, 1},
		{"another error", []error{fault.ErrConflict, failed}, nil, failed, 1},
		{"what others stored can't be read", conflicts(1), failed, failed, 1},
		{"always behind", conflicts(backend.MaxRaces), nil, backend.ErrRaces, backend.MaxRaces},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tries, caught := tt.tries, 0
			err := backend.RetrySwap(func() error {
				err := tries[0]
				tries = tries[1:]
				return err
			}, func() error { caught++; return tt.catchUp })
			if !errors.Is(err, tt.want) || caught != tt.wantCaught || len(tries) > 0 {
				t.Errorf("got %v, caught up %d times, %d tries left", err, caught, len(tries))
			}
		})
	}
}
