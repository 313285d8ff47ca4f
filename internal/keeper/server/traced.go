package server

import (
	"errors"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/keeper"
)

// untraced returns an error if the keeper can see that it is traced, without opening
// a file, and ends the keeper then.
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
