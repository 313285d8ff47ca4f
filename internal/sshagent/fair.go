package sshagent

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// errQueue refuses a request when too many are waiting.
var errQueue = errors.New("too many requests from this program are already waiting")

// fair limits how many jobs of a kind run at once. Peers, told apart by process,
// take turns: a peer with many jobs delays only itself. All clients of a forwarded
// agent are one process here, that of ssh.
type fair struct {
	atOnce    int // how many jobs run at once; 0: one
	each, all int // how many jobs of a peer may wait, and in all; 0: any number

	mu      sync.Mutex // guards what follows
	running int
	lines   []*line // of the peers that wait, the next one first
	waiting int
}

// line holds the waiting jobs of one peer, first come first served.
type line struct {
	pid  int
	jobs []chan struct{} // closed when the job may run
}

// take waits for the turn of a job of the process pid. give ends the turn.
func (f *fair) take(ctx context.Context, pid int) error {
	ready, err := f.enter(pid)
	if err != nil || ready == nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	if !f.leave(pid, ready) {
		f.give() // the turn came at the same moment
	}
	return context.Cause(ctx)
}

// enter takes a free turn and returns nil, or queues the job and returns a channel
// that is closed when its turn has come.
func (f *fair) enter(pid int) (<-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running < max(f.atOnce, 1) {
		f.running++
		return nil, nil
	}
	i := f.find(pid)
	if f.all > 0 && f.waiting >= f.all || f.each > 0 && i >= 0 && len(f.lines[i].jobs) >= f.each {
		return nil, errQueue
	}
	if i < 0 {
		f.lines = append(f.lines, &line{pid: pid})
		i = len(f.lines) - 1
	}
	ready := make(chan struct{})
	f.lines[i].jobs = append(f.lines[i].jobs, ready)
	f.waiting++
	return ready, nil
}

func (f *fair) find(pid int) int {
	return slices.IndexFunc(f.lines, func(l *line) bool { return l.pid == pid })
}

// leave removes a job from its line, and reports whether it was still in it.
func (f *fair) leave(pid int, ready <-chan struct{}) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.find(pid)
	if i < 0 {
		return false
	}
	l := f.lines[i]
	at := slices.IndexFunc(l.jobs, func(c chan struct{}) bool { return c == ready })
	if at < 0 {
		return false
	}
	l.jobs = slices.Delete(l.jobs, at, at+1)
	if f.waiting--; len(l.jobs) == 0 {
		f.lines = slices.Delete(f.lines, i, i+1)
	}
	return true
}

// give passes the turn to the next peer's first job.
func (f *fair) give() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.lines) == 0 {
		f.running--
		return
	}
	l := f.lines[0]
	f.lines = slices.Delete(f.lines, 0, 1)
	next := l.jobs[0]
	if l.jobs = l.jobs[1:]; len(l.jobs) > 0 {
		f.lines = append(f.lines, l)
	}
	f.waiting--
	close(next)
}
