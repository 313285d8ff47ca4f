package daemon

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"vigil/internal/control"
	"vigil/internal/sshagent"
	"vigil/internal/unixsock"
)

const (
	// maxRefusals is how many refusals of clients `vigilctl why` can show, and maxOwn
	// how many of the daemon's own jobs and of vigilctl's.
	maxRefusals = 100
	maxOwn      = 50
)

// refusals are the newest refusals. They contain no secrets and are only in memory.
// If there are too many, the process with the most loses its oldest, so that it can't
// displace those of others.
type refusals struct {
	log *slog.Logger // nil: refusals aren't logged, but shown on request

	mu   sync.Mutex
	list []control.Refusal // oldest first
}

func newRefusals() *refusals { return &refusals{} }

func (r *refusals) note(e control.Refusal) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if r.log != nil {
		r.log.Info("refused", "request", e.What, "key", e.Fingerprint, "pid", e.PID, "program", e.Program, "reason", e.Reason)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
	of := map[int]int{} // number by process; 0: the daemon itself
	most := e.PID
	for _, e := range r.list {
		if of[e.PID]++; e.PID != 0 && of[e.PID] > of[most] {
			most = e.PID
		}
	}
	if of[0] > maxOwn {
		r.dropOldest(0)
	}
	if len(r.list)-of[0] > maxRefusals {
		r.dropOldest(most)
	}
}

// dropOldest drops the oldest refusal of a process.
func (r *refusals) dropOldest(pid int) {
	i := slices.IndexFunc(r.list, func(e control.Refusal) bool { return e.PID == pid })
	r.list = slices.Delete(r.list, i, i+1)
}

// Refuse records a refusal of the agent's; it implements sshagent.Refusals.
func (r *refusals) Refuse(e sshagent.Refusal) {
	r.note(control.Refusal{
		Time: e.Time, What: e.Request, Vault: e.Vault, Key: e.Comment, Fingerprint: e.Fingerprint,
		Purpose: e.Purpose, Host: e.Host, From: e.From, PID: e.Peer.PID, UID: e.Peer.UID, Program: e.Peer.Program, Reason: e.Reason, Next: e.Next,
	})
}

// foreign records a connection by another user.
func (r *refusals) foreign(e *unixsock.ForeignPeerError) {
	r.note(control.Refusal{What: "connect", PID: e.Peer.PID, UID: int(e.Peer.UID), Program: programOf(e.Peer.PID), Reason: e.Error()})
}

// newest returns at most limit refusals, newest first; 0: all.
func (r *refusals) newest(limit int) []control.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit <= 0 || limit > len(r.list) {
		limit = len(r.list)
	}
	out := slices.Clone(r.list[len(r.list)-limit:])
	slices.Reverse(out)
	return out
}

func (r *refusals) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.list)
}
