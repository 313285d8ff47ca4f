package server

import (
	"bytes"
	"fmt"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/vaultfile"
)

// takeFile takes a whole vault file, for the next load.
func (s *server) takeFile(text []byte) error {
	if s.vaultID == (id.Vault{}) {
		return fmt.Errorf("%w: this keeper has no vault", keeper.ErrRefused)
	}
	// The parsed file aliases text, and the worker reuses its buffer.
	f, err := vaultfile.Parse(bytes.Clone(text), s.vaultID)
	if err != nil {
		return fmt.Errorf("%w: %w", keeper.ErrDamaged, err)
	}
	s.setFile(f)
	return nil
}

// changeFile applies a delta to the vault file.
func (s *server) changeFile(body []byte) error {
	d, err := keeper.ReadDelta(body)
	if err != nil {
		return err
	}
	f, err := s.currentFile()
	if err != nil {
		return err
	}
	if f, err = f.Apply(d); err != nil {
		return fmt.Errorf("%w: %w", keeper.ErrDamaged, err)
	}
	s.setFile(f)
	return nil
}

func (s *server) setFile(f *vaultfile.File) {
	s.mu.Lock()
	s.file = f
	s.mu.Unlock()
}

func (s *server) currentFile() (*vaultfile.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil, fmt.Errorf("%w: no vault file was given", keeper.ErrRefused)
	}
	return s.file, nil
}
