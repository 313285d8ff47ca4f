package server

import (
	"bytes"
	"fmt"

	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// verifyPart is how many revisions one request verifies: some milliseconds of work.
const verifyPart = 64

// verify opens everything in the next part of the vault file that has a DEK, including
// superseded revisions, and reports the problems. It opens private keys one by one and
// wipes them.
func (s *server) verify(body, out []byte) ([]byte, error) {
	from, err := keeper.ReadNumber(body)
	if err != nil {
		return out, err
	}
	var verified keeper.Verified
	err = s.withVault(func(v *vault) error {
		parsed, err := s.currentFile()
		if err != nil {
			return err
		}
		manifest := v.ring.Manifest()
		if manifest == nil {
			return fmt.Errorf("%w: no keyring was loaded", keeper.ErrRefused)
		}
		problem := func(format string, args ...any) {
			verified.Problems = append(verified.Problems, fmt.Sprintf(format, args...))
		}
		verified.Total = len(parsed.Lines())
		first := int(min(from, uint64(verified.Total)))
		verified.Next = min(first+verifyPart, verified.Total)
		for i := first; i < verified.Next; i++ {
			line := &parsed.Lines()[i]
			dek := manifest.Lookup(line.Revision)
			switch {
			case dek == nil || dek.Item != line.Item:
			case dek.Line != line.Sum:
				problem("revision %v of item %v: %v", line.Revision, line.Item, errForged)
			default:
				if err := v.verifyRevision(line, dek); err != nil {
					problem("%v", err)
				}
			}
		}
		if verified.Next < verified.Total {
			return nil
		}
		view := parsed.See(manifest, nil)
		for _, e := range view.Missing {
			if view.Held[e.Item] { // others may still arrive
				problem("revision %v of item %v is not in the vault file", e.Revision, e.Item)
			}
		}
		return nil
	})
	return verified.Append(out), err
}

// verifyRevision checks that metadata and private key open and match.
func (v *vault) verifyRevision(line *vaultfile.Line, dek *keyring.DEK) error {
	revision := line.Decode()
	text, err := v.ring.OpenMeta(&revision, dek)
	if err != nil {
		return err
	}
	meta, err := vaultfile.ParseMeta(text)
	if err != nil {
		return fmt.Errorf("item %v: %w", line.Item, err)
	}
	return v.ring.WithSecret(&revision, dek, func(secret []byte) error {
		key, rest, err := v.server.parseKey(secret)
		if err != nil {
			return fmt.Errorf("private key of item %v: %w", line.Item, err)
		}
		defer key.Free()
		if len(rest) != 0 || !bytes.Equal(key.PlainPublic(), meta.Public) {
			return fmt.Errorf("private key of item %v is not the one its metadata names", line.Item)
		}
		return nil
	})
}
