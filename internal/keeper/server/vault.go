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

// vault is an unlocked vault: the ring that opens it, and its items.
type vault struct {
	server   *server
	identity id.Identity

	mu    sync.Mutex // one load, seal or change at a time; signing with an open key doesn't take it
	ring  *ring.Ring
	next  *ring.Ring // takes over at the next load: the identity's keys were replaced
	items map[id.Revision]*item
	// stale are the numbers of superseded revisions of items that are there still.
	// The front lists their successors once it has the reply to the load that
	// dropped them; until the next one they sign on.
	stale []uint64
}

// item is a revision that has a DEK.
type item struct {
	number uint64
	line   vaultfile.Revision
	dek    keyring.DEK
	meta   []byte // until the front has it
	state  keeper.ItemState
	// problem says why the metadata doesn't open.
	problem string
}

// newVault takes over the ring.
func newVault(s *server, identity id.Identity, r *ring.Ring) *vault {
	return &vault{server: s, identity: identity, ring: r, items: map[id.Revision]*item{}}
}

// rekey takes over a ring of the identity's new private halves, for the keyring
// that is loaded next. Until then the old one goes on.
func (v *vault) rekey(next *ring.Ring) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.next != nil {
		v.next.Close()
	}
	next.Succeed(v.ring)
	v.next = next
}

// loadKeyring loads a keyring into the ring that it is for.
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

// close wipes what opens the vault, and its keys.
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

// ringError gives an error of ring's the kind that the front branches on.
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

// load takes a keyring, if it is good, and opens the metadata of what is new in
// the vault file. On an error the old state stays.
func (s *server) load(body, out []byte) ([]byte, error) {
	q, err := keeper.ReadLoadRequest(body)
	if err != nil {
		return out, err
	}
	// What is parsed aliases these, and a worker's buffer is used again.
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

// openKey is an item's first use: from here on its private half is in guarded memory.
func (v *vault) openKey(it *item) (key *signer.Key, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err = v.ring.WithSecret(&it.line, &it.dek, func(secret []byte) error {
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
