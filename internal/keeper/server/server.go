package server

import (
	"fmt"
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

// handle appends the reply's body to out.
func (w *worker) handle(o keeper.Op, body, out []byte) ([]byte, error) {
	s := w.server
	switch o {
	case keeper.OpSign:
		return s.sign(body, out)
	case keeper.OpSignThrough:
		return w.signThrough(body, out)
	case keeper.OpAdd, keeper.OpAddBound:
		return s.add(body, o == keeper.OpAddBound, out)
	case keeper.OpRemove:
		return out, s.remove(body)
	case keeper.OpRemoveAll:
		s.keys.removeAll()
		return out, nil
	case keeper.OpLock:
		return out, s.lock(body)
	case keeper.OpUnlock:
		return out, s.unlock(body)
	case keeper.OpAttach:
		return w.attach(body, out)
	case keeper.OpFile:
		return out, s.takeFile(body)
	case keeper.OpFileDelta:
		return out, s.changeFile(body)
	case keeper.OpLoad:
		return s.load(body, out)
	case keeper.OpSeal:
		return s.seal(body, out)
	case keeper.OpVerify:
		return s.verify(body, out)
	case keeper.OpSealLine:
		return s.sealLine(body, out)
	case keeper.OpCollect:
		return s.collect(body, out)
	case keeper.OpDropDraft:
		return out, s.dropDraft(body)
	case keeper.OpDeks:
		return s.makeDeks(body, out)
	case keeper.OpRotation:
		return s.rotation(body, out)
	case keeper.OpDeadlines:
		return out, s.setDeadlines(body)
	case keeper.OpStats:
		return s.stats().Append(out), nil
	}
	return out, fmt.Errorf("%w: unknown op %d", keeper.ErrBadRequest, o)
}
