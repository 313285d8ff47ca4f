package server

import (
	"sync"
	"sync/atomic"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/vaultfile"
)

// server is what the keeper holds, and the workers that use it.
type server struct {
	report  keeper.Report
	vaultID id.Vault // zero for the keeper of added keys
	slab    *guard.Slab
	sweeper *guard.Sweeper
	watch   *guard.Watch
	workers []*worker
	keys    *table

	signing atomic.Int32 // running signatures: if it is the only one, RSA may use another core

	busy    sync.RWMutex // held for reading by every request, for writing by the end
	quit    chan struct{}
	endOnce sync.Once

	deadlines deadlines
	locked    lock

	mu        sync.Mutex               // guards the fields below; never held while a key is used
	drafts    map[uint64]*guard.Buffer // keys handed over by an opener and not sealed yet
	lastDraft uint64
	vault     *vault
	file      *vaultfile.File // the last one from the front
}

// stats counts what the keeper holds.
func (s *server) stats() keeper.Stats {
	all, open := s.keys.len()
	u := s.slab.Usage()
	return keeper.Stats{Keys: all, Open: open, Used: u.Used, Mapped: u.Mapped, Kind: string(u.Kind)}
}
