package unixsock

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// closing notes what was closed.
type closing struct {
	name   string
	closed *[]string
}

func (c closing) Close() error {
	*c.closed = append(*c.closed, c.name)
	return nil
}

func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed []string
		guests := map[string]*Guest{}
		c := NewCrowd(4)
		enter := func(name string, pid int) {
			time.Sleep(time.Second) // of the bubble
			guests[name] = c.Enter(closing{name, &closed}, pid)
		}
		use := func(name string) {
			time.Sleep(time.Second)
			guests[name].Busy(true)
			guests[name].Busy(false)
		}
		enter("a", 1)
		enter("b", 1)
		enter("c", 1)
		enter("other", 2)
		use("other")
		use("b")
		use("a")
		guests["a"].Busy(true)
		enter("d", 3) // c goes: of the three of process 1 it never asked for anything
		enter("e", 3) // d goes too: now processes 1 and 3 have as many
		use("e")
		enter("f", 3) // b goes, which was used before e
		use("f")
		enter("g", 3) // e goes, as f was used later
		if want := []string{"c", "d", "b", "e"}; fmt.Sprint(closed) != fmt.Sprint(want) {
			t.Errorf("closed %q, want %q", closed, want)
		}
		if slices.Contains(closed, "other") || c.Size() != 4 {
			t.Errorf("%d are left", c.Size())
		}
		for _, g := range guests {
			g.Leave()
			g.Leave()
		}
		if c.Size() != 0 || len(c.count) != 0 {
			t.Errorf("%d are left, of %d processes", c.Size(), len(c.count))
		}
	})
}
