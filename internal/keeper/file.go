package keeper

import (
	"bytes"
	"context"
	"fmt"

	"vigil/internal/id"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// The keeper has the vault file that the front gave it last. A whole one may
// come before the identity does, so that it's read while Argon2id runs; later
// only what changed is sent. Nothing of it is used before a Load.

// takeFile takes a whole vault file.
func (s *server) takeFile(text []byte) error {
	if s.vaultID == (id.Vault{}) {
		return fmt.Errorf("%w: this keeper has no vault", ErrRefused)
	}
	// A worker's buffer is used again, and what is parsed aliases it.
	f, err := vaultfile.Parse(bytes.Clone(text), s.vaultID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	s.setFile(f)
	return nil
}

// changeFile makes the vault file of the one that is there.
func (s *server) changeFile(r *wire.Reader) error {
	d, err := readDelta(r)
	if err != nil {
		return err
	}
	f, err := s.currentFile()
	if err != nil {
		return err
	}
	if f, err = f.Apply(d); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
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
		return nil, fmt.Errorf("%w: no vault file was given", ErrRefused)
	}
	return s.file, nil
}

// GiveFile gives the keeper the text of the vault file that the next Load is of.
// The error is ErrDamaged for one that can't be used; the earlier one stays.
func (c *Client) GiveFile(ctx context.Context, text []byte) error {
	_, err := c.call(ctx, opFile, text)
	return err
}

// ChangeFile changes the vault file that the keeper has. After an error of the
// connection nobody knows which one that is: give it whole.
func (c *Client) ChangeFile(ctx context.Context, d vaultfile.Delta) error {
	b := wire.AppendUint32(nil, uint32(len(d.Drop)))
	for _, at := range d.Drop {
		b = wire.AppendUint32(b, uint32(at))
	}
	b = wire.AppendUint32(b, uint32(len(d.Add)))
	for _, line := range d.Add {
		b = wire.AppendString(b, line)
	}
	_, err := c.call(ctx, opFileDelta, b)
	return err
}

func readDelta(r *wire.Reader) (d vaultfile.Delta, err error) {
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		d.Drop = append(d.Drop, int(r.Uint32()))
	}
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		d.Add = append(d.Add, bytes.Clone(r.String()))
	}
	if r.End() != nil {
		return d, ErrBadRequest
	}
	return d, nil
}
