package sshagent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
)

func TestProcessesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fair{each: 3, all: 5}
		must(t, f.take(t.Context(), 1))
		var order []int
		wait := func(ctx context.Context, pid int) {
			go func() {
				if f.take(ctx, pid) == nil {
					order = append(order, pid)
					f.give()
				}
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait(t.Context(), 1)
		wait(ctx, 1)
		wait(t.Context(), 1)
		wait(t.Context(), 2)
		if err := f.take(t.Context(), 1); !errors.Is(err, errQueue) {
			t.Errorf("a process's fourth: %v", err)
		}
		wait(t.Context(), 3)
		if err := f.take(t.Context(), 4); !errors.Is(err, errQueue) {
			t.Errorf("the sixth of all: %v", err)
		}
		cancel()
		synctest.Wait()
		f.give()
		synctest.Wait()
		if got := fmt.Sprint(order); got != "[1 2 3 1]" {
			t.Errorf("turns went to %s", got)
		}
		if f.running != 0 || f.waiting != 0 || len(f.lines) != 0 {
			t.Errorf("left over: %+v", f)
		}
	})
}

// cutOff is a connection that records whether it is closed.
type cutOff struct {
	script
	closed bool
}

func (c *cutOff) Close() error { c.closed = true; return nil }

func TestUnfinishedMessagesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIntake(100)
		arrive := func(pid, size int) (*arrival, *cutOff) {
			t.Helper()
			c := &cutOff{}
			a := &arrival{conn: c, pid: pid}
			must(t, in.grow(t.Context(), a, size))
			return a, c
		}
		whole, wholeConn := arrive(1, 40)
		if !in.complete(whole) {
			t.Fatal("cut off")
		}
		_, first := arrive(1, 20)
		_, second := arrive(1, 20)
		_, other := arrive(2, 20)
		_, third := arrive(3, 30) // of 1, which has the most, the oldest go
		if !first.closed || !second.closed || other.closed || third.closed || wholeConn.closed {
			t.Errorf("cut off: %v %v %v %v %v", first.closed, second.closed, other.closed, third.closed, wholeConn.closed)
		}
		// The process that has the most waits, and doesn't displace others.
		more := &arrival{conn: &cutOff{}, pid: 1}
		grown := make(chan error, 1)
		go func() { grown <- in.grow(t.Context(), more, 30) }()
		synctest.Wait()
		if len(grown) != 0 || other.closed || third.closed {
			t.Errorf("it didn't wait: %d, %v %v", len(grown), other.closed, third.closed)
		}
		in.end(whole)
		must(t, <-grown)
		in.end(more)
		if err := in.grow(t.Context(), &arrival{conn: &cutOff{}, pid: 4}, 50); err != nil {
			t.Error(err)
		}
	})
}

func TestAMessageThatWasCutOffGrowsNoMore(t *testing.T) {
	in := newIntake(100)
	a, b := &arrival{conn: &cutOff{}, pid: 1}, &arrival{conn: &cutOff{}, pid: 1}
	must(t, in.grow(t.Context(), a, 60))
	must(t, in.grow(t.Context(), b, 60))
	if err := in.grow(t.Context(), a, 1); !errors.Is(err, errNoRoom) {
		t.Errorf("it grows: %v", err)
	}
	if in.complete(a) || !in.complete(b) {
		t.Error("the wrong one is complete")
	}
	in.end(a)
	in.end(b)
	if in.left != 100 || len(in.list) != 0 {
		t.Errorf("%d bytes are left, and %d arrivals", in.left, len(in.list))
	}
}
