package keeper

import (
	"testing"
	"time"
)

// TestInstants: a deadline has passed as soon as either clock says so.
func TestInstants(t *testing.T) {
	wall := time.Unix(1_700_000_000, 0)
	at := instant{boot: time.Hour, wall: wall}
	end := at.after(time.Minute)
	for _, tt := range []struct {
		name       string
		boot, wall time.Duration // since at
		passed     bool
	}{
		{"before", 59 * time.Second, 59 * time.Second, false},
		{"after", time.Minute, time.Minute, true},
		{"wall clock set back", time.Minute, -24 * time.Hour, true},
		{"suspended on a machine whose boot clock stands still", time.Second, time.Minute, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := instant{boot: at.boot + tt.boot, wall: wall.Add(tt.wall)}
			if got := end.passed(now); got != tt.passed {
				t.Fatalf("passed: %v", got)
			}
			if left := end.left(now); (left <= 0) != tt.passed {
				t.Fatalf("%v left", left)
			}
		})
	}
	if later := at.after(time.Hour); earlier(end, later) != end || earlier(later, end) != end || earlier(instant{}, end) != end || earlier(end, instant{}) != end {
		t.Fatal("the earlier of two deadlines isn't the earlier one")
	}
}
