package server

import (
	"sync"
	"sync/atomic"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/vaultfile"
)

// server is the keeper's side: what it holds, and the workers that use it.
type server struct {
	report  keeper.Report
	vaultID id.Vault // all zero for the keeper of added keys
	slab    *guard.Slab
	sweeper *guard.Sweeper
	watch   *guard.Watch
	workers []*worker
	keys    *table

	signing atomic.Int32 // signatures under way: with one only, RSA may use another core

	busy    sync.RWMutex // held for reading by every request, for writing by the end
	quit    chan struct{}
	endOnce sync.Once

	deadlines deadlines
	locked    lock

	mu        sync.Mutex               // guards what follows; never held while a key is used
	drafts    map[uint64]*guard.Buffer // keys that an opener handed over and that aren't sealed yet
	lastDraft uint64
	vault     *vault
	file      *vaultfile.File // that the front gave last
}

// stats says how much there is of what.
func (s *server) stats() keeper.Stats {
	all, open := s.keys.len()
	u := s.slab.Usage()
	return keeper.Stats{Keys: all, Open: open, Used: u.Used, Mapped: u.Mapped, Kind: string(u.Kind)}
}
