package daemon

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// manyEnded is how many ended connections cause memory to be given back. Fewer
	// can't have used much, and looking for free memory takes time.
	manyEnded = 64
	// tidyAfter is how long after that memory is given back, once for all that end
	// meanwhile.
	tidyAfter = 2 * time.Second
)

// thrift gives memory back to the system when many connections have ended, or a large
// file has been read. Go's runtime would keep it, as it collects garbage only when more
// is allocated.
type thrift struct {
	mu     sync.Mutex  // guards the fields below
	ended  int         // connections since memory was last given back
	timer  *time.Timer // nil: memory isn't going to be given back
	closed bool

	giving sync.WaitGroup
}

// connectionEnded counts an ended connection.
func (t *thrift) connectionEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended++; t.ended >= manyEnded {
		t.soon()
	}
}

// largeRead notes that a large file was read, and isn't in memory any more.
func (t *thrift) largeRead() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.soon()
}

// soon gives memory back after tidyAfter. The caller holds t.mu.
func (t *thrift) soon() {
	if t.timer != nil || t.closed {
		return
	}
	t.giving.Add(1)
	t.timer = time.AfterFunc(tidyAfter, func() {
		defer t.giving.Done()
		t.mu.Lock()
		t.ended, t.timer = 0, nil
		t.mu.Unlock()
		debug.FreeOSMemory()
	})
}

// close waits until memory isn't being given back.
func (t *thrift) close() {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil && t.timer.Stop() {
		t.giving.Done()
	}
	t.mu.Unlock()
	t.giving.Wait()
}
