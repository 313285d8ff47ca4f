package unixsock

import (
	"io"
	"sync"
	"time"
)

// Crowd bounds how many connections are open at once. There is always room for
// one more: another makes place, of the process that has the most. So who keeps
// many shuts nobody out but itself.
type Crowd struct {
	most int

	mu     sync.Mutex // guards what follows, and what is in the guests
	guests map[*Guest]struct{}
	count  map[int]int // of each process
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
	used  time.Time // when it was busy last; zero: never
	since time.Time
}

// Enter takes in a connection of the process pid, and closes another if there are
// too many.
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

// choose picks who makes place for g.
func (c *Crowd) choose(g *Guest) (out *Guest) {
	for o := range c.guests {
		if o != g && (out == nil || c.before(o, out)) {
			out = o
		}
	}
	return out
}

// before reports whether a goes rather than b: of the process that has more; one
// that is idle; one that never asked for anything; one that was used longer ago.
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

// remove takes a guest out. It may be called again.
func (c *Crowd) remove(g *Guest) {
	if _, ok := c.guests[g]; !ok {
		return
	}
	delete(c.guests, g)
	if c.count[g.pid]--; c.count[g.pid] == 0 {
		delete(c.count, g.pid)
	}
}

// Busy notes whether something is being done for the connection.
func (g *Guest) Busy(busy bool) {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.busy, g.used = busy, time.Now()
}

// Leave ends the connection's stay, when it has been closed.
func (g *Guest) Leave() {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.crowd.remove(g)
}

// Size is how many connections there are.
func (c *Crowd) Size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.guests)
}
