package daemon

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// manyEnded is how many connections must have ended until memory is given back:
	// fewer can't have cost much, and finding out what is free costs some time.
	manyEnded = 64
	// tidyAfter is how long after that it's done: once for all that end meanwhile.
	tidyAfter = 2 * time.Second
)

// thrift gives memory back to the system when many connections have ended. Go's
// runtime would keep it: it collects garbage when more is asked for.
type thrift struct {
	mu     sync.Mutex // guards what follows
	ended  int        // connections, since memory was given back
	timer  *time.Timer
	closed bool

	giving sync.WaitGroup
}

// connectionEnded counts one.
func (t *thrift) connectionEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended++; t.ended != manyEnded || t.closed {
		return
	}
	t.giving.Add(1)
	t.timer = time.AfterFunc(tidyAfter, func() {
		defer t.giving.Done()
		t.mu.Lock()
		t.ended = 0
		t.mu.Unlock()
		debug.FreeOSMemory()
	})
}

// close waits until nothing is under way.
func (t *thrift) close() {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil && t.timer.Stop() {
		t.giving.Done()
	}
	t.mu.Unlock()
	t.giving.Wait()
}
