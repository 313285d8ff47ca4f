package control

import (
	"sync"
	"sync/atomic"
	"time"
)

// progressEvery is the least time between two messages of progress.
const progressEvery = 100 * time.Millisecond

// Progress is how much of a long request is done.
type Progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

// watched is embedded in requests that take long. A daemon calls Report while it works;
// it never blocks.
type watched struct{ report func(Progress) }

// Report tells the client, if it wants to know, that done parts of total are done.
func (w *watched) Report(done, total int) {
	if w.report != nil {
		w.report(Progress{done, total})
	}
}

func (w *watched) watch(report func(Progress)) { w.report = report }

// reporter sends the latest progress of a request to its client: the work doesn't wait
// for a client that doesn't read.
type reporter struct {
	latest atomic.Pointer[Progress]
	wake   chan struct{} // has an element when latest is new
	done   chan struct{}
	work   sync.WaitGroup
}

// startReporter returns a reporter, which the caller stops before it sends the reply.
func startReporter(send func(response) bool) *reporter {
	r := &reporter{wake: make(chan struct{}, 1), done: make(chan struct{})}
	r.work.Go(func() {
		timer := time.NewTimer(progressEvery)
		defer timer.Stop()
		for {
			select {
			case <-r.done:
				return
			case <-r.wake:
			}
			if !send(response{Progress: r.latest.Load()}) {
				return
			}
			timer.Reset(progressEvery)
			select {
			case <-r.done:
				return
			case <-timer.C:
			}
		}
	})
	return r
}

func (r *reporter) report(p Progress) {
	r.latest.Store(&p)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) stop() {
	close(r.done)
	r.work.Wait()
}
