package logfile

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// burst is how many lines of one text are written at once.
	burst = 20
	// interval is how long it takes until one more may be.
	interval = time.Second
)

// Limit returns a handler that passes on what h would handle, but of each message
// no more than burst records at once and one for each interval then. The next
// that is passed on says, as left_out, how many weren't. Messages are told apart
// by their text, which is the program's: what one client provokes hides nothing
// else.
func Limit(h slog.Handler) slog.Handler {
	return limited{h, &buckets{of: map[string]*bucket{}}}
}

// limited is a handler behind a limit, which it shares with those made of it.
type limited struct {
	slog.Handler
	b *buckets
}

type buckets struct {
	mu sync.Mutex // guards what follows
	of map[string]*bucket
}

// bucket is what may still be written of one message.
type bucket struct {
	left    int
	filled  time.Time
	leftOut int
}

// Handle passes r on, or counts it.
func (l limited) Handle(ctx context.Context, r slog.Record) error {
	n, ok := l.b.take(r.Message, time.Now())
	if !ok {
		return nil
	}
	if n > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out", n))
	}
	return l.Handler.Handle(ctx, r)
}

// take reports whether a record may be written, and how many before it weren't.
func (b *buckets) take(message string, now time.Time) (leftOut int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.of[message]
	if k == nil {
		k = &bucket{left: burst, filled: now}
		b.of[message] = k
	}
	if n := int(now.Sub(k.filled) / interval); n > 0 {
		k.left = min(k.left+n, burst)
		k.filled = k.filled.Add(time.Duration(n) * interval)
	}
	if k.left == 0 {
		k.leftOut++
		return 0, false
	}
	k.left--
	leftOut, k.leftOut = k.leftOut, 0
	return leftOut, true
}

// WithAttrs is h's, behind the same limit.
func (l limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limited{l.Handler.WithAttrs(attrs), l.b}
}

// WithGroup is h's, behind the same limit.
func (l limited) WithGroup(name string) slog.Handler {
	return limited{l.Handler.WithGroup(name), l.b}
}
