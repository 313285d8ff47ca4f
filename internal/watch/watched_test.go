package watch

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// soon is how long a test waits for what must come; nothing takes so long.
const soon = time.Minute

// quick options find changes by events alone.
var quick = Options{Debounce: 5 * time.Millisecond, MaxDelay: 100 * time.Millisecond, Poll: time.Hour, FastPoll: time.Hour}

// polling options find changes by polling alone, with deaf.
var polling = Options{Debounce: time.Millisecond, MaxDelay: 10 * time.Millisecond, Poll: 10 * time.Millisecond, FastPoll: 10 * time.Millisecond}

// watched is a Watcher under test, with what a reader of the file has.
type watched struct {
	*Watcher
	t    *testing.T
	path string
}

func begin(t *testing.T, path string, opts Options, before ...func(*Watcher)) *watched {
	t.Helper()
	w, err := prepare(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range before {
		f(w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go w.run(ctx)
	t.Cleanup(func() {
		cancel()
		for range w.Changes() { // its closing is what is waited for
		}
	})
	return &watched{w, t, path}
}

// deaf takes the events away, as on a file system that has none.
func deaf(w *Watcher) { w.events, w.errs = nil, nil }

// until receives changes until the file holds content, which a reader that
// reads at each change then has.
func (w *watched) until(content string) {
	w.t.Helper()
	deadline := time.After(soon)
	for {
		select {
		case c := <-w.Changes():
			if data, err := os.ReadFile(w.path); err == nil && string(data) == content {
				return
			} else if len(c.Paths) == 0 {
				w.t.Fatal("a change of nothing")
			}
		case <-deadline:
			data, err := os.ReadFile(w.path)
			w.t.Fatalf("no change told of %q, %v", data, err)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

// replace writes beside and renames, as careful programs do.
func replace(t *testing.T, path, content string) {
	t.Helper()
	write(t, path+".tmp", content)
	must(t, os.Rename(path+".tmp", path))
}
