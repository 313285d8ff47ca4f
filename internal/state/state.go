// Package state keeps what this device has seen and still has to do, under
// $XDG_STATE_HOME/vigil. It holds no plaintext secret: only public facts,
// ciphertext and wrapped keys.
//
//	names.json                       vault name → vault id
//	vaults/ID/pins.json              last members record and manifest accepted
//	vaults/ID/keyring.json           hashes of the last good members and deks
//	vaults/ID/{members,deks}-HASH    these objects
//	vaults/ID/public.json            public keys and names, listed while locked
//	vaults/ID/replaced.json          revisions that must not be used again
//	vaults/ID/pending/…              changes the backend doesn't have yet
//	vaults/ID/blob-NAME              data of other packages, opaque here
//
// Folders have mode 0700 and files 0600. Every file is replaced as a whole and
// synced. It has two lines: a header with kind, version and the SHA-256 of the
// body, and the body, JSON. A file that can't be read back is a *CorruptError and
// is not overwritten by a change that depends on it. Changes hold a lock, so
// several processes can make them.
package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/paths"
)

// Version is the format version of every file.
const Version = 1

// MaxFile is the largest state file, in bytes: far more than the public keys of
// 100,000 items.
const MaxFile = 256 << 20

const (
	folderMode = 0o700
	fileMode   = 0o600
)

var (
	// ErrVersion is within a *CorruptError: a newer Vigil wrote the file.
	ErrVersion = errors.New("written by a newer version of vigil")
	// ErrNone reports that nothing has been kept yet.
	ErrNone = errors.New("not kept on this device")
	// ErrBound reports a name that is bound to another vault id.
	ErrBound = errors.New("the name stands for another vault on this device")
	// ErrBackwards reports pins that are older than, or a fork of, those kept.
	ErrBackwards = errors.New("older than what this device has seen")
)

// CorruptError reports a state file that can't be used.
type CorruptError struct {
	File string
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("state file %q can't be used: %v; nothing was changed", e.File, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Store is the device state in one folder. It caches nothing in memory.
type Store struct{ dir string }

// Open returns the store in dir, which is paths.Paths.State, and creates dir if it
// is missing.
func Open(dir string) (*Store, error) {
	if err := durable.MkdirAll(dir, folderMode); err != nil {
		return nil, fmt.Errorf("open device state: %w", err)
	}
	return &Store{dir: dir}, nil
}

// names is the body of names.json.
type names struct {
	Vaults map[string]id.Vault `json:"vaults"`
}

func (s *Store) namesFile() string { return filepath.Join(s.dir, "names.json") }

// Names returns the vault id of each name this device knows.
func (s *Store) Names() (map[string]id.Vault, error) {
	var n names
	err := read(s.namesFile(), "names", &n)
	if err != nil && !errors.Is(err, ErrNone) {
		return nil, err
	}
	if n.Vaults == nil {
		n.Vaults = map[string]id.Vault{}
	}
	return n.Vaults, nil
}

// Bind binds name to vault. If name is bound to another vault, the binding stays
// and the error wraps ErrBound: a file that became another vault's is not trusted
// until Unbind.
func (s *Store) Bind(ctx context.Context, name string, vault id.Vault) error {
	if err := paths.CheckName(name); err != nil {
		return err
	}
	return s.changeNames(ctx, func(n map[string]id.Vault) error {
		if old, ok := n[name]; ok && old != vault {
			return fmt.Errorf("bind %q to vault %s: %w, %s", name, vault, ErrBound, old)
		}
		n[name] = vault
		return nil
	})
}

// Unbind forgets which vault name is bound to; the vault's own state stays.
func (s *Store) Unbind(ctx context.Context, name string) error {
	return s.changeNames(ctx, func(n map[string]id.Vault) error {
		delete(n, name)
		return nil
	})
}

func (s *Store) changeNames(ctx context.Context, change func(map[string]id.Vault) error) error {
	lock, err := durable.AcquireLock(ctx, filepath.Join(s.dir, ".lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	n, err := s.Names()
	if err != nil {
		return err
	}
	if err := change(n); err != nil {
		return err
	}
	return write(s.namesFile(), "names", names{Vaults: n})
}

// header is a file's first line.
type header struct {
	Vigil   string `json:"vigil"` // "state"
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	SHA256  string `json:"sha256"` // of the body line without its end, hex
}

// encode returns a file's two lines.
func encode(kind string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	sum := sha256.Sum256(text)
	head, err := json.Marshal(header{Vigil: "state", Kind: kind, Version: Version, SHA256: hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return append(append(append(head, '\n'), text...), '\n'), nil
}

// write replaces a state file, and creates its folder if it is missing.
func write(file, kind string, body any) error {
	data, err := encode(kind, body)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(file), folderMode); err != nil {
		return err
	}
	return durable.Replace(file, data, durable.Options{Mode: fileMode})
}

// read decodes a state file. The error is ErrNone if there is no file, and a
// *CorruptError if it can't be used.
func read(file, kind string, body any) error {
	data, err := durable.ReadFile(file, MaxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNone
	case errors.Is(err, durable.ErrNotAFile), errors.Is(err, durable.ErrTooLarge):
		return &CorruptError{File: file, Err: err}
	case err != nil:
		return fmt.Errorf("read device state: %w", err)
	}
	if err := decode(data, kind, body); err != nil {
		return &CorruptError{File: file, Err: err}
	}
	return nil
}

// decode reverses encode, and refuses anything that encode doesn't write.
func decode(data []byte, kind string, body any) error {
	first, rest, ok := bytes.Cut(data, []byte("\n"))
	text, end := bytes.CutSuffix(rest, []byte("\n"))
	if !ok || !end || bytes.IndexByte(text, '\n') >= 0 {
		return errors.New("not two complete lines")
	}
	var h header
	if err := strict(first, &h); err != nil {
		return fmt.Errorf("line 1: %w", err)
	}
	switch {
	case h.Vigil != "state" || h.Kind != kind:
		return fmt.Errorf("line 1: not a file of kind %s", kind)
	case h.Version > Version:
		return fmt.Errorf("line 1: %w", ErrVersion)
	case h.Version != Version:
		return errors.New("line 1: unknown version")
	}
	sum := sha256.Sum256(text)
	if h.SHA256 != hex.EncodeToString(sum[:]) {
		return errors.New("line 2: hash differs from line 1")
	}
	if err := strict(text, body); err != nil {
		return fmt.Errorf("line 2: %w", err)
	}
	return nil
}

// strict decodes exactly one JSON value, and refuses unknown members.
func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New("not the JSON expected") // the library's error repeats the input
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
