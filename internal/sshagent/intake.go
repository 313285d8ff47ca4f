package sshagent

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
)

// errNoRoom ends a connection whose unfinished message was cut off.
var errNoRoom = errors.New("an unfinished message was cut off to make room for others")

// intake bounds the memory of the messages that connections send at the same
// time. When memory is short, it cuts off unfinished messages: the oldest one of
// the process that holds the most. So a peer that finishes its message doesn't
// wait for peers that don't.
type intake struct {
	mu      sync.Mutex    // guards what follows, and the arrivals' fields
	left    int           // bytes still free
	list    []*arrival    // those that hold memory, oldest first
	changed chan struct{} // closed when there is more room; nil: nobody waits
}

func newIntake(bytes int) *intake { return &intake{left: bytes} }

// arrival is a message on its way from its first byte to its answer.
type arrival struct {
	conn  net.Conn
	pid   int
	held  int
	whole bool // complete, so never cut off
	cut   bool
}

// begin starts a new message.
func (a *arrival) begin() { a.whole = false }

// grow lets a message hold n more bytes. It waits while no unfinished message can
// be cut off to make room.
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

// tryGrow returns nil if a has grown, or a channel to wait for before the next try.
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

// greediest returns the unfinished message to cut off, or nil. asking is the
// message that needs room.
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
		return nil // the process that holds the most waits
	}
	return victim
}

// end releases a message that was answered or whose connection ends.
func (in *intake) end(a *arrival) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.drop(a)
}

// complete marks a message as complete. It returns false if it was cut off.
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
