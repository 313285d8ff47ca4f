package server

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/ring"
	"vigil/internal/signer"
	"vigil/internal/vaultfile"
)

// vault is an unlocked vault: its ring and its items.
type vault struct {
	server   *server
	identity id.Identity

	mu    sync.Mutex // held by one load, seal or change at a time; not by signing with an open key
	ring  *ring.Ring
	next  *ring.Ring // replaces ring at the next load: the identity's keys were replaced
	items map[id.Revision]*item
	// stale are the key numbers of superseded revisions. They can still sign until
	// the next load: the front lists their successors only after the reply to the
	// load that dropped them.
	stale []uint64
}

// item is a revision that has a DEK.
type item struct {
	number uint64
	line   vaultfile.Line
	dek    keyring.DEK
	meta   []byte // nil once the front has it
	state  keeper.ItemState
	// problem says why the metadata doesn't open.
	problem string
}

// newVault takes ownership of the ring.
func newVault(s *server, identity id.Identity, r *ring.Ring) *vault {
	return &vault{server: s, identity: identity, ring: r, items: map[id.Revision]*item{}}
}

// rekey takes ownership of a ring with the identity's new private keys, for the next
// keyring. The old ring is used until then.
func (v *vault) rekey(next *ring.Ring) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.next != nil {
		v.next.Close()
	}
	next.Succeed(v.ring)
	v.next = next
}

// loadKeyring loads a keyring into the ring that can open it.
func (v *vault) loadKeyring(q *keeper.LoadRequest) error {
	if v.next == nil {
		return v.ring.Load(q.Members, q.Deks, q.Known.Known, q.Waiting)
	}
	if err := v.next.Load(q.Members, q.Deks, q.Known.Known, q.Waiting); err != nil {
		return err
	}
	v.ring.Close()
	v.ring, v.next = v.next, nil
	return nil
}

// close wipes the vault's ring and keys.
func (v *vault) close() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ring.Close()
	if v.next != nil {
		v.next.Close()
	}
	for _, it := range v.items {
		v.server.keys.remove(it.number)
	}
	v.dropStale()
}

func (v *vault) dropStale() {
	for _, number := range v.stale {
		v.server.keys.remove(number)
	}
	v.stale = nil
}

// withVault runs f on the unlocked vault, one f at a time.
func (s *server) withVault(f func(v *vault) error) error {
	s.mu.Lock()
	v := s.vault
	s.mu.Unlock()
	if v == nil {
		return fmt.Errorf("%w: no identity was handed over", keeper.ErrRefused)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return ringError(f(v))
}

// ringError wraps an error of package ring in the one that the front branches on.
func ringError(err error) error {
	switch stage := keyring.StageOf(err); {
	case err == nil || keeper.StatusOf(err) != keeper.StatusFailed:
		return err
	case errors.Is(err, ring.ErrNotAMember):
		return fmt.Errorf("%w: %w", keeper.ErrNoIdentity, err)
	case errors.Is(err, ring.ErrReader):
		return fmt.Errorf("%w: %w", keeper.ErrReader, err)
	case stage == keyring.StageRollback || stage == keyring.StageFork:
		return fmt.Errorf("%w: %w", keeper.ErrRollback, err)
	case errors.Is(err, keyring.ErrChange) || errors.Is(err, ring.ErrEmpty):
		return fmt.Errorf("%w: %w", keeper.ErrRefused, err)
	case isFull(err):
		return fmt.Errorf("%w: %w", keeper.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", keeper.ErrDamaged, err)
}

// load loads a valid keyring and opens the metadata of new lines. After an error, the
// old state stays.
func (s *server) load(body, out []byte) ([]byte, error) {
	q, err := keeper.ReadLoadRequest(body)
	if err != nil {
		return out, err
	}
	// Parsed values alias them, and the worker reuses its buffer.
	q.Members, q.Deks = bytes.Clone(q.Members), bytes.Clone(q.Deks)
	err = s.withVault(func(v *vault) error {
		file, err := s.currentFile()
		if err != nil {
			return err
		}
		if err := v.loadKeyring(&q); err != nil {
			return err
		}
		out = v.loadItems(file, q.Known.Replaced).Append(out)
		return nil
	})
	return out, err
}

// openKey opens an item's private key into guarded memory, at its first use.
func (v *vault) openKey(it *item) (key *signer.Key, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err = v.withSecret(it, func(secret []byte) error {
		var rest []byte
		key, rest, err = v.server.parseKey(secret)
		if err == nil && len(rest) != 0 {
			key.Free()
			return fmt.Errorf("%w: bytes after the private key of item %v", keeper.ErrDamaged, it.line.Item)
		}
		return err
	})
	return key, ringError(err)
}

// openMeta returns an item's metadata. See [ring.Ring.OpenMeta].
func (v *vault) openMeta(it *item) (meta []byte, err error) {
	revision := it.line.DecodeMeta()
	return v.ring.OpenMeta(&revision, &it.dek)
}

// withSecret runs f on an item's private key. See [ring.Ring.WithSecret].
func (v *vault) withSecret(it *item, f func(secret []byte) error) error {
	revision := it.line.Decode()
	return v.ring.WithSecret(&revision, &it.dek, f)
}
