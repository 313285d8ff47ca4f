package server

import (
	"errors"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/signer"
)

// sign signs data; every other request exists for this one.
func (s *server) sign(body, out []byte) ([]byte, error) {
	q, err := keeper.ReadSignRequest(body)
	if err != nil {
		return out, err
	}
	if s.locked.on() {
		return out, fmt.Errorf("%w: locked by ssh-add -x", keeper.ErrRefused)
	}
	e, ok := s.keys.get(q.Key)
	if !ok {
		return out, keeper.ErrNoKey
	}
	s.deadlines.touch()
	s.signing.Add(1)
	defer s.signing.Add(-1)
	for {
		key, err := e.acquire()
		if err != nil {
			return out, err
		}
		signed, err := key.AppendSign(out, q.Data, q.Flags, s.signing.Load() == 1)
		switch {
		case errors.Is(err, signer.ErrFreed): // evicted or removed after it was acquired
			continue
		case err != nil:
			return out, keyError(err)
		}
		return signed, nil
	}
}

// keyError wraps an error of package signer in the one that the front branches on.
func keyError(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("%w: %w", keeper.ErrFull, err)
	case errors.Is(err, signer.ErrUnsupported), errors.Is(err, signer.ErrSHA1), errors.Is(err, signer.ErrFlags):
		return fmt.Errorf("%w: %w", keeper.ErrUnsupported, err)
	default:
		return fmt.Errorf("%w: %w", keeper.ErrBadRequest, err)
	}
}

func isFull(err error) bool { return errors.Is(err, guard.ErrFull) }
