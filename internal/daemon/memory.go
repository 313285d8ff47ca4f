package daemon

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// tidyAfter is how long after a connection's end memory is looked at: one look
	// for all that end meanwhile.
	tidyAfter = 2 * time.Second
	// spareMemory is how many bytes more than after the last look the front may
	// keep without giving them back: a few large messages are none.
	spareMemory = 16 << 20
)

// thrift gives memory back to the system when connections that cost much have
// ended. Go's runtime keeps it for minutes otherwise, as it collects garbage when
// more is asked for.
type thrift struct {
	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	due    bool
	closed bool
	kept   uint64 // bytes, after the last look

	looking sync.WaitGroup
}

// ended notes that a connection has.
func (t *thrift) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due || t.closed {
		return
	}
	t.due = true
	t.looking.Add(1)
	t.timer = time.AfterFunc(tidyAfter, func() {
		defer t.looking.Done()
		t.look()
	})
}

func (t *thrift) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.due = false
	if t.closed {
		return
	}
	now := held()
	if now > t.kept+spareMemory {
		debug.FreeOSMemory()
		now = held()
	}
	t.kept = now
}

func (t *thrift) close() {
	t.mu.Lock()
	t.closed = true
	if t.due && t.timer.Stop() {
		t.looking.Done()
	}
	t.mu.Unlock()
	t.looking.Wait()
}

// held is what the runtime holds of the system's memory, in bytes.
func held() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
