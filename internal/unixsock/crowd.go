package unixsock

import (
	"io"
	"sync"
	"time"
)

// Crowd bounds how many connections are open at once. There is always room for a new
// one: if there are too many, Crowd closes one of the process that has the most. So a
// process that opens many connections can't exclude others.
type Crowd struct {
	most int

	mu     sync.Mutex // guards what follows, and the guests' fields
	guests map[*Guest]struct{}
	count  map[int]int // connections of each process
}

// NewCrowd returns a crowd of no more than most connections.
func NewCrowd(most int) *Crowd {
	return &Crowd{most: most, guests: map[*Guest]struct{}{}, count: map[int]int{}}
}

// Guest is a connection in a crowd.
type Guest struct {
	crowd *Crowd
	conn  io.Closer
	pid   int
	busy  bool
	used  time.Time // when it was last busy; zero: never
	since time.Time
}

// Enter adds a connection of the process pid, and closes another one if there are too
// many.
func (c *Crowd) Enter(conn io.Closer, pid int) *Guest {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := &Guest{crowd: c, conn: conn, pid: pid, since: time.Now()}
	c.guests[g] = struct{}{}
	c.count[pid]++
	if len(c.guests) > c.most {
		if out := c.choose(g); out != nil {
			c.remove(out)
			_ = out.conn.Close()
		}
	}
	return g
}

// choose returns the guest to close to make room for g.
func (c *Crowd) choose(g *Guest) (out *Guest) {
	for o := range c.guests {
		if o != g && (out == nil || c.before(o, out)) {
			out = o
		}
	}
	return out
}

// before reports whether a is closed rather than b: the one of the process with more
// connections, then an idle one, then one that was never used, then the one that was
// used longer ago.
func (c *Crowd) before(a, b *Guest) bool {
	switch {
	case c.count[a.pid] != c.count[b.pid]:
		return c.count[a.pid] > c.count[b.pid]
	case a.busy != b.busy:
		return b.busy
	case !a.used.Equal(b.used):
		return a.used.Before(b.used)
	}
	return a.since.Before(b.since)
}

// remove removes a guest. It may be called again.
func (c *Crowd) remove(g *Guest) {
	if _, ok := c.guests[g]; !ok {
		return
	}
	delete(c.guests, g)
	if c.count[g.pid]--; c.count[g.pid] == 0 {
		delete(c.count, g.pid)
	}
}

// Busy records whether a request of the connection is in progress.
func (g *Guest) Busy(busy bool) {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.busy, g.used = busy, time.Now()
}

// Leave removes a connection that has been closed.
func (g *Guest) Leave() {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.crowd.remove(g)
}

// Size returns the number of connections.
func (c *Crowd) Size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.guests)
}
