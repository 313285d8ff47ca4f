package server

import (
	"errors"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/keeper"
)

// untraced is what the keeper itself can see of a tracer, with nothing to open.
// One that is traced serves nobody any more.
func (s *server) untraced() error {
	err := s.watch.Untraced()
	if err == nil {
		return nil
	}
	var traced *guard.TracedError
	if errors.As(err, &traced) {
		s.end()
	}
	return fmt.Errorf("%w: %w", keeper.ErrRefused, err)
}
