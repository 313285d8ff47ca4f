package server

import (
	"errors"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/signer"
	"vigil/internal/skhelper"
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

// kindError is an error whose own words say enough, of a kind that the front branches on.
type kindError struct {
	error
	kind error
}

func (e kindError) Unwrap() error        { return e.error }
func (e kindError) Is(target error) bool { return target == e.kind }

// keyError makes an error of package signer one that the front branches on.
func keyError(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("%w: %w", keeper.ErrFull, err)
	case errors.Is(err, signer.ErrUnsupported), errors.Is(err, signer.ErrToken), errors.Is(err, signer.ErrSHA1), errors.Is(err, signer.ErrFlags):
		return kindError{err, keeper.ErrUnsupported}
	default:
		return kindError{err, keeper.ErrBadRequest}
	}
}

// tokenError is keyError for a signature through a security key.
func tokenError(err error) error {
	if errors.Is(err, skhelper.ErrPIN) {
		return kindError{err, keeper.ErrPIN}
	}
	if errors.Is(err, signer.ErrFault) || errors.Is(err, signer.ErrFreed) {
		return keyError(err)
	}
	return kindError{err, keeper.ErrUnsupported}
}

func isFull(err error) bool { return errors.Is(err, guard.ErrFull) }
