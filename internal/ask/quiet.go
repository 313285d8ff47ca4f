package ask

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// After a prompt that nobody answered with a passphrase, those it was for aren't asked
// again for firstQuiet, or for unansweredQuiet if nobody was there, and after each further
// one twice as long, up to longestQuiet.
const (
	firstQuiet      = 30 * time.Second
	unansweredQuiet = time.Minute
	longestQuiet    = 10 * time.Minute
	// enough is how many such prompts begin a quiet time for everyone: a program can
	// take on a new origin for each request.
	enough = 3
)

// QuietError reports that nobody is asked for some time, because nobody answered before.
type QuietError struct{ Left time.Duration }

func (e *QuietError) Error() string {
	return fmt.Sprintf("an earlier prompt was declined or not answered: nobody is asked for another %v", e.Left.Round(time.Second))
}

// Quiet is who isn't asked whether something is allowed, because a person said no. Its
// methods may be called concurrently. The zero value is nobody.
type Quiet struct {
	mu sync.Mutex
	q  quiet
}

// Check returns a QuietError if nobody is asked for an origin now.
func (q *Quiet) Check(origin string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.q.check(origin, false, time.Now())
}

// End has people asked again.
func (q *Quiet) End() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.q = quiet{}
}

// Note notes how a question for an origin ended: after a yes, people are asked again; after
// a no, or nothing, they aren't for a time.
func (q *Quiet) Note(origin string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case err == nil:
		q.q = quiet{}
	case errors.Is(err, ErrDeclined):
		q.q.begin(map[string]bool{origin: true}, true, time.Now(), firstQuiet)
	case errors.Is(err, ErrUnanswered):
		q.q.begin(map[string]bool{origin: true}, true, time.Now(), unansweredQuiet)
	}
}

// quiet is who isn't asked. The zero value is nobody.
type quiet struct {
	of  map[string]*silence // by origin
	all silence
	no  int // prompts since the last unlock that weren't answered with a passphrase
}

// silence is a time when nobody is asked.
type silence struct {
	length time.Duration
	until  time.Time
}

func (s *silence) begin(now time.Time, least time.Duration) {
	s.length = min(max(least, 2*s.length), longestQuiet)
	s.until = now.Add(s.length)
}

// check returns a QuietError if nobody is asked for an origin. A request in its quiet time
// begins that anew, half as long again: what asks every 30 seconds, as an editor's fetch
// does, isn't heard. On the terminal of whoever asks, the quiet time for everyone doesn't
// count.
func (q *quiet) check(origin string, here bool, now time.Time) error {
	left := q.all.until.Sub(now)
	if here {
		left = 0
	}
	if s := q.of[origin]; s != nil && now.Before(s.until) {
		s.until = now.Add(s.length * 3 / 2)
		left = max(left, s.until.Sub(now))
	}
	if left <= 0 {
		return nil
	}
	return &QuietError{left}
}

// begin notes a prompt for these origins that wasn't answered with a passphrase. One on
// the terminal of whoever asked is none of everyone's.
func (q *quiet) begin(origins map[string]bool, everyones bool, now time.Time, least time.Duration) {
	if q.of == nil {
		q.of = map[string]*silence{}
	}
	maps.DeleteFunc(q.of, func(_ string, s *silence) bool { return now.Sub(s.until) > longestQuiet })
	for origin := range origins {
		s := q.of[origin]
		if s == nil {
			s = &silence{}
			q.of[origin] = s
		}
		s.begin(now, least)
	}
	if !everyones {
		return
	}
	if q.no++; q.no >= enough {
		q.all.begin(now, least)
	}
}
