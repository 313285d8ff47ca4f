package backend

import (
	"errors"
	"fmt"

	"vigil/internal/fault"
)

// MaxRaces is how often Compete tries a change.
const MaxRaces = 64

// ErrRaces reports a change that lost to other writers MaxRaces times.
var ErrRaces = fmt.Errorf("other writers were first %d times", MaxRaces)

// RetrySwap makes a change by compare-and-swap: try applies it to what was read last, and
// stores the result. If another writer was first (fault.ErrConflict), catchUp reads what
// that writer stored, and try runs again.
func RetrySwap(try, catchUp func() error) error {
	for range MaxRaces {
		err := try()
		if !errors.Is(err, fault.ErrConflict) {
			return err
		}
		if err := catchUp(); err != nil {
			return err
		}
	}
	return ErrRaces
}
