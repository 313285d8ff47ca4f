package ask

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigil/internal/session"
)

// counter shows prompts that end when they are answered.
type counter struct {
	*Desk
	answer chan error

	mu       sync.Mutex
	shown    int // in all
	at, most int // at once
	allowed  int // at once
}

func newCounter() *counter {
	c := &counter{answer: make(chan error), allowed: 1}
	c.Desk = NewDesk(func(ctx context.Context, _ Request) error {
		c.count(1)
		defer c.count(-1)
		select {
		case err := <-c.answer:
			return err
		case <-ctx.Done():
			return fmt.Errorf("closed: %w", ctx.Err())
		}
	})
	return c
}

func (c *counter) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown += max(n, 0)
	c.at += n
	c.most = max(c.most, c.at)
}

func (c *counter) prompts() (shown, open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown, c.at
}

// want checks how many prompts there were, and are.
func (c *counter) want(t *testing.T, shown, open int) {
	t.Helper()
	synctest.Wait()
	if s, o := c.prompts(); s != shown || o != open {
		t.Errorf("%d prompts were shown, %d are; want %d, %d", s, o, shown, open)
	}
}

// ask asks in the background.
func (c *counter) ask(ctx context.Context, origin string) <-chan error {
	got := make(chan error, 1)
	go func() { got <- c.Ask(ctx, Request{Caller: Caller{Origin: origin}}) }()
	synctest.Wait()
	return got
}

// askAt asks from the foreground of a session's terminal.
func (c *counter) askAt(ctx context.Context, leader int, origin string) <-chan error {
	got := make(chan error, 1)
	r := Request{Caller: Caller{Origin: origin}, session: &session.Session{ID: session.ID{Leader: leader}}}
	go func() { got <- c.Ask(ctx, r) }()
	synctest.Wait()
	return got
}

// gone locks a desk, and waits until its prompts have gone.
func gone(d *Desk) {
	for _, p := range d.Locked() {
		<-p
	}
}

func inTime(t *testing.T, f func(t *testing.T, c *counter)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		f(t, c)
		c.Close()
		c.Wait()
		if c.most != c.allowed || c.at != 0 {
			t.Errorf("%d prompts were shown at once, %d are left", c.most, c.at)
		}
	})
}

func TestTwentyRequestsMakeOnePrompt(t *testing.T) {
	wrong := errors.New("wrong three times")
	for _, answer := range []error{nil, ErrDeclined, wrong} {
		inTime(t, func(t *testing.T, c *counter) {
			var all []<-chan error
			for i := range 20 {
				all = append(all, c.ask(t.Context(), fmt.Sprint(i)))
			}
			c.want(t, 1, 1)
			c.answer <- answer
			for _, got := range all {
				if err := <-got; !errors.Is(err, answer) || answer == nil && err != nil {
					t.Errorf("got %v, want %v", err, answer)
				}
			}
			c.want(t, 1, 0)
		})
	}
}

func TestOneThatLeavesLeavesTheOthers(t *testing.T) {
	inTime(t, func(t *testing.T, c *counter) {
		gone := errors.New("gone")
		ctx, leave := context.WithCancelCause(t.Context())
		first, second := c.ask(ctx, "a"), c.ask(t.Context(), "b")
		leave(gone)
		if err := <-first; !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		c.want(t, 1, 1)
		c.answer <- nil
		if err := <-second; err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestAPromptLingersAfterTheLast(t *testing.T) {
	inTime(t, func(t *testing.T, c *counter) {
		ctx, leave := context.WithCancel(t.Context())
		c.ask(ctx, "a")
		c.ask(ctx, "b")
		leave()
		time.Sleep(Linger - time.Second)
		c.want(t, 1, 1)
		again := c.ask(t.Context(), "a") // as ssh that is called once more
		time.Sleep(time.Hour)
		c.want(t, 1, 1)
		c.answer <- nil
		if err := <-again; err != nil {
			t.Errorf("got %v", err)
		}
	})
	inTime(t, func(t *testing.T, c *counter) {
		ctx, leave := context.WithCancel(t.Context())
		c.ask(ctx, "a")
		leave()
		synctest.Wait()
		time.Sleep(Linger - time.Nanosecond)
		c.want(t, 1, 1)
		time.Sleep(time.Nanosecond)
		c.want(t, 1, 0)
		if err := <-c.ask(t.Context(), "a"); !errors.As(err, new(*QuietError)) {
			t.Errorf("an origin that left is asked for at once: %v", err)
		}
		c.ask(t.Context(), "b")
		c.want(t, 2, 1)
	})
	// A person who answers after the last has left unlocks nevertheless.
	inTime(t, func(t *testing.T, c *counter) {
		ctx, leave := context.WithCancel(t.Context())
		c.ask(ctx, "a")
		leave()
		synctest.Wait()
		c.answer <- nil
		c.want(t, 1, 0)
		time.Sleep(time.Hour)
		c.ask(t.Context(), "a")
		c.want(t, 2, 1)
	})
}

// An editor's fetch, every 30 s for 10 minutes, makes one prompt, whether it is cancelled,
// not answered within a minute, or left by a client that has no patience.
func TestAFetchInTheBackgroundAsksOnce(t *testing.T) {
	for name, fetch := range map[string]func(*testing.T, *counter) error{
		"cancelled": func(t *testing.T, c *counter) error {
			got := c.ask(t.Context(), "editor")
			if _, open := c.prompts(); open > 0 {
				time.Sleep(time.Second)
				c.answer <- ErrDeclined
			}
			return <-got
		},
		"not answered": func(t *testing.T, c *counter) error {
			got := c.ask(t.Context(), "editor")
			if _, open := c.prompts(); open > 0 {
				time.Sleep(time.Minute)
				c.answer <- ErrUnanswered
			}
			return <-got
		},
		"impatient": func(t *testing.T, c *counter) error {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			return <-c.ask(ctx, "editor")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, c *counter) {
				began := time.Now()
				for next := began; time.Since(began) < 10*time.Minute; {
					if err := fetch(t, c); err == nil {
						t.Error("it was unlocked")
					}
					for !next.After(time.Now()) {
						next = next.Add(30 * time.Second)
					}
					time.Sleep(time.Until(next))
				}
				c.want(t, 1, 0)
				c.ask(t.Context(), "terminal") // another origin is asked for
				c.want(t, 2, 1)
			})
		})
	}
}

func TestQuietTimesDouble(t *testing.T) {
	inTime(t, func(t *testing.T, c *counter) {
		shown := 0
		no := func(origin string) {
			t.Helper()
			got := c.ask(t.Context(), origin)
			shown++
			c.want(t, shown, 1)
			c.answer <- ErrDeclined
			<-got
		}
		quiet := func(origin string, length time.Duration) {
			t.Helper()
			time.Sleep(length - time.Second) // to its end
			want := length * 3 / 2
			if origin != "a" { // that of everyone, which requests don't prolong
				want = time.Second
			}
			var e *QuietError
			if err := <-c.ask(t.Context(), origin); !errors.As(err, &e) || e.Left != want {
				t.Errorf("got %v, want %v left", err, want)
			}
		}
		for _, wait := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
			no("a")
			quiet("a", wait)
			time.Sleep(wait * 3 / 2)
		}
		// One that takes on another origin each time is as quiet before long.
		no("b")
		quiet("c", 10*time.Minute)
		time.Sleep(time.Second)
		no("d")
		quiet("e", 10*time.Minute)
		c.Unlocked()
		no("a")
		quiet("a", 30*time.Second)
		time.Sleep(45 * time.Second)
		got := c.ask(t.Context(), "a")
		c.answer <- nil
		<-got
		shown++
		no("a")
		quiet("a", 30*time.Second)
	})
}

// What was decided elsewhere ends a prompt.
func TestEndedElsewhere(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*Desk)
		want error
	}{"unlocked": {(*Desk).Unlocked, nil}, "locked": {func(d *Desk) { gone(d) }, errLocked}, "closed": {(*Desk).Close, errEnded}} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, c *counter) {
				got := c.ask(t.Context(), "a")
				tt.end(c.Desk)
				if err := <-got; !errors.Is(err, tt.want) || tt.want == nil && err != nil {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				c.want(t, 1, 0)
				if tt.want == errEnded {
					if err := <-c.ask(t.Context(), "a"); !errors.Is(err, errEnded) {
						t.Errorf("asked of a closed desk: %v", err)
					}
					return
				}
				c.ask(t.Context(), "a")
				c.want(t, 2, 1)
			})
		})
	}
}

// A terminal's own prompt doesn't wait for one that is shown elsewhere, perhaps where nobody
// is; the first that is answered ends all.
func TestATerminalHasItsOwnPrompt(t *testing.T) {
	inTime(t, func(t *testing.T, c *counter) {
		c.allowed = 3
		elsewhere, here, there := c.ask(t.Context(), "a"), c.askAt(t.Context(), 1, "b"), c.askAt(t.Context(), 2, "c")
		again := c.askAt(t.Context(), 1, "d")
		c.want(t, 3, 3)
		if n := c.Waiting(); n != 4 {
			t.Errorf("%d wait", n)
		}
		c.answer <- nil
		for _, got := range []<-chan error{elsewhere, here, there, again} {
			if err := <-got; err != nil {
				t.Error(err)
			}
		}
		c.want(t, 3, 0)
	})
}

// On a terminal, what runs there next reads what is typed: no prompt lingers.
func TestAPromptLeavesTheTerminalAtOnce(t *testing.T) {
	inTime(t, func(t *testing.T, c *counter) {
		ctx, leave := context.WithCancel(t.Context())
		got := c.askAt(ctx, 1, "a")
		leave()
		<-got
		c.want(t, 1, 0)
	})
}

// Whatever is declined on terminals of a program's own makes nobody else quiet, and is
// quiet for what runs there.
func TestADeclinedTerminalIsQuietForItself(t *testing.T) {
	inTime(t, func(t *testing.T, c *counter) {
		for i := 1; i < 2*enough; i++ {
			got := c.askAt(t.Context(), i, fmt.Sprint(i))
			c.answer <- ErrDeclined
			<-got
		}
		if err := <-c.askAt(t.Context(), 1, "1"); !errors.As(err, new(*QuietError)) {
			t.Errorf("asked again: %v", err)
		}
		for range enough {
			got := c.ask(t.Context(), fmt.Sprint("elsewhere", c.shown))
			c.answer <- ErrDeclined
			<-got
		}
		if err := <-c.ask(t.Context(), "new"); !errors.As(err, new(*QuietError)) {
			t.Errorf("asked again: %v", err)
		}
		got := c.askAt(t.Context(), 1, "the next command")
		c.answer <- nil
		if err := <-got; err != nil {
			t.Errorf("a terminal is quiet with the rest: %v", err)
		}
	})
}

func TestPromptsOnTerminalsAreBounded(t *testing.T) {
	inTime(t, func(t *testing.T, c *counter) {
		c.allowed = maxAtTerminals + 2
		for i := range maxAtTerminals + 1 {
			c.askAt(t.Context(), i+1, "a")
		}
		if err := <-c.askAt(t.Context(), 0x7fff, "a"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		c.ask(t.Context(), "a")
		c.want(t, maxAtTerminals+2, maxAtTerminals+2)
		gone(c.Desk)
	})
}
