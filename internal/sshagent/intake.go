package sshagent

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
)

// errNoRoom ends a connection whose unfinished message makes room for others.
var errNoRoom = errors.New("an unfinished message made room for those of others")

// intake bounds the memory of the messages that connections send at the same
// time. Where it is short, unfinished messages are cut off: of the process that
// holds the most, the one that was begun first. So whoever sends a message and
// ends it doesn't wait for those who don't.
type intake struct {
	mu      sync.Mutex    // guards what follows, and what is in the arrivals
	left    int           // bytes
	list    []*arrival    // that hold something, in the order in which they began
	changed chan struct{} // closed when there is more room; nil: nobody waits
}

func newIntake(bytes int) *intake { return &intake{left: bytes} }

// arrival is a message on its way from its first byte to its answer.
type arrival struct {
	conn  net.Conn
	pid   int
	held  int
	whole bool // no more cut off
	cut   bool
}

// begin makes a the arrival of a new message.
func (a *arrival) begin() { a.whole = false }

// grow lets a message hold n bytes more. It waits while all that could make room
// is being answered.
func (in *intake) grow(ctx context.Context, a *arrival, n int) error {
	for {
		wait, err := in.tryGrow(a, n)
		if err != nil || wait == nil {
			return err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryGrow returns what to wait for before the next try, or nil when a has grown.
func (in *intake) tryGrow(a *arrival, n int) (<-chan struct{}, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.left < n && !a.cut {
		victim := in.greediest(a)
		if victim == nil {
			if in.changed == nil {
				in.changed = make(chan struct{})
			}
			return in.changed, nil
		}
		in.drop(victim)
		victim.cut = true
		_ = victim.conn.Close()
	}
	if a.cut {
		return nil, errNoRoom
	}
	if a.held == 0 {
		in.list = append(in.list, a)
	}
	a.held += n
	in.left -= n
	return nil, nil
}

// greediest is the unfinished message to cut off, or nil; asking is the one that
// room is made for.
func (in *intake) greediest(asking *arrival) *arrival {
	held := map[int]int{}
	for _, a := range in.list {
		held[a.pid] += a.held
	}
	var victim *arrival
	for _, a := range in.list {
		if !a.whole && (victim == nil || held[a.pid] > held[victim.pid]) {
			victim = a
		}
	}
	if victim != nil && victim.pid != asking.pid && held[asking.pid] >= held[victim.pid] {
		return nil // who holds the most waits
	}
	return victim
}

// end takes a message out: it was answered, or its connection ends.
func (in *intake) end(a *arrival) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.drop(a)
}

// complete says that all of a message is there. It reports false when it was cut off.
func (in *intake) complete(a *arrival) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	a.whole = true
	return !a.cut
}

func (in *intake) drop(a *arrival) {
	if a.held == 0 {
		return
	}
	in.left += a.held
	a.held = 0
	in.list = slices.DeleteFunc(in.list, func(o *arrival) bool { return o == a })
	if in.changed != nil {
		close(in.changed)
		in.changed = nil
	}
}
