package daemon

import (
	"log/slog"
	"sync"
	"time"

	"vigil/internal/control"
	"vigil/internal/sshagent"
	"vigil/internal/unixsock"
)

// maxRefusals is how many refusals `vigilctl why` can show.
const maxRefusals = 100

// refusals is a ring of the newest refusals. They hold no secrets and are kept
// in memory only.
type refusals struct {
	log *slog.Logger // nil: whoever wants to know asks

	mu   sync.Mutex
	ring []control.Refusal
	next int
}

func newRefusals() *refusals { return &refusals{ring: make([]control.Refusal, 0, maxRefusals)} }

func (r *refusals) note(e control.Refusal) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if r.log != nil {
		r.log.Info("refused", "request", e.What, "key", e.Fingerprint, "pid", e.PID, "program", e.Program, "reason", e.Reason)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) < maxRefusals {
		r.ring = append(r.ring, e)
		return
	}
	r.ring[r.next] = e
	r.next = (r.next + 1) % maxRefusals
}

// Refuse notes what the agent refused; it makes refusals an sshagent.Refusals.
func (r *refusals) Refuse(e sshagent.Refusal) {
	r.note(control.Refusal{
		Time: e.Time, What: e.Request, Vault: e.Vault, Key: e.Comment, Fingerprint: e.Fingerprint,
		PID: e.Peer.PID, UID: e.Peer.UID, Program: e.Peer.Program, Reason: e.Reason,
	})
}

// foreign notes a connection of another user's.
func (r *refusals) foreign(e *unixsock.ForeignPeerError) {
	r.note(control.Refusal{What: "connect", PID: e.Peer.PID, UID: int(e.Peer.UID), Reason: e.Error()})
}

// newest returns at most limit refusals, the newest first; 0 means all.
func (r *refusals) newest(limit int) []control.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit <= 0 || limit > len(r.ring) {
		limit = len(r.ring)
	}
	out := make([]control.Refusal, 0, limit)
	for i := range limit {
		out = append(out, r.ring[(r.next-1-i+2*len(r.ring))%len(r.ring)])
	}
	return out
}

func (r *refusals) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ring)
}
