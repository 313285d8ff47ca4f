package clock

import (
	"testing"
	"time"
)

var (
	wall = time.Unix(1_700_000_000, 0)
	at   = Instant{boot: time.Hour, wall: wall}
)

// TestADeadlinePassesOnEitherClock: as soon as one of them says so.
func TestADeadlinePassesOnEitherClock(t *testing.T) {
	end := at.After(time.Minute)
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
			now := Instant{boot: at.boot + tt.boot, wall: wall.Add(tt.wall)}
			if got := end.Passed(now); got != tt.passed {
				t.Fatalf("passed: %v", got)
			}
			if left := end.Left(now); (left <= 0) != tt.passed {
				t.Fatalf("%v left", left)
			}
			if since := at.Since(now); (since >= time.Minute) != tt.passed {
				t.Fatalf("%v since", since)
			}
		})
	}
}

// TestNowIsOnTheWallClock: time.Time compares monotonic readings where it has
// them, and that clock neither counts through suspend nor follows the wall clock.
func TestNowIsOnTheWallClock(t *testing.T) {
	if now := Now(); now.wall != now.wall.Round(0) || now.boot == 0 {
		t.Fatalf("%+v", now)
	}
}

func TestEarlierIsOverWhenEitherIs(t *testing.T) {
	soon, later := at.After(time.Minute), at.After(time.Hour)
	none := Instant{}
	if Earlier(soon, later) != soon || Earlier(later, soon) != soon || Earlier(none, soon) != soon || Earlier(soon, none) != soon || Earlier(none, none) != none {
		t.Fatal("the earlier of two deadlines isn't the earlier one")
	}
	a, b := Instant{boot: 1, wall: wall.Add(9)}, Instant{boot: 9, wall: wall.Add(1)}
	if got := Earlier(a, b); got != (Instant{boot: 1, wall: wall.Add(1)}) {
		t.Fatalf("of deadlines made under different wall clocks: %+v", got)
	}
}

func TestShownFollowsASetClock(t *testing.T) {
	end := at.After(time.Hour)
	if got := end.Shown(at.After(time.Minute)); !got.Equal(wall.Add(time.Hour)) {
		t.Errorf("clocks that agree: %v", got)
	}
	back := Instant{boot: at.boot, wall: wall.Add(-24 * time.Hour)}
	if got := end.Shown(back); !got.Equal(back.wall.Add(time.Hour)) {
		t.Errorf("a clock set back a day: %v", got)
	}
}

func TestAMomentTravels(t *testing.T) {
	for _, i := range []Instant{{}, at, Now()} {
		if got := Of(i.Boot(), i.UnixNano()); got.boot != i.boot || !got.wall.Equal(i.wall) || got.IsZero() != i.IsZero() {
			t.Errorf("%+v became %+v", i, got)
		}
	}
}
