package logfile

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// burst is how many records of one message are written at once.
	burst = 20
	// interval is how long it takes until one more may be written.
	interval = time.Second
)

// Limit returns a handler that passes records on to h, but for each message at most
// burst records at once, and then one per interval. The next record passed on has
// the number of suppressed ones as left_out. Messages are distinguished by their
// text, which is constant, so the records that a client provokes don't suppress
// others.
func Limit(h slog.Handler) slog.Handler {
	return limited{h, &buckets{of: map[string]*bucket{}}}
}

// limited is a handler with a limit, shared by the handlers derived from it.
type limited struct {
	slog.Handler
	b *buckets
}

type buckets struct {
	mu sync.Mutex // guards what follows
	of map[string]*bucket
}

// bucket is how much may still be written of one message.
type bucket struct {
	left    int
	filled  time.Time
	leftOut int
}

// Handle passes r on, or counts it as suppressed.
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

// take reports whether a record may be written, and how many were suppressed before.
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

// WithAttrs returns the inner handler's WithAttrs, with the same limit.
func (l limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limited{l.Handler.WithAttrs(attrs), l.b}
}

// WithGroup returns the inner handler's WithGroup, with the same limit.
func (l limited) WithGroup(name string) slog.Handler {
	return limited{l.Handler.WithGroup(name), l.b}
}
