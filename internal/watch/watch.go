// Package watch reports changes of a file on any file system: rewritten in place,
// replaced by a rename, behind symbolic links, in a folder that is itself replaced, or
// where there are no events.
//
// Events only trigger a look at the file, which decides whether it has changed.
// Folders are watched, because a watch on the file ends with its first replacement.
// After an event there is a debounce time, shorter after a rename into place. Then the
// file is compared by (device, inode, size, times) and, if one of them differs, by
// SHA-256, so that a touch or a rewrite with the same content is not a change. A slow
// poll finds changes that events missed; it is fast on file systems known to have no
// events, and if watching fails.
//
// The file may be incomplete. The reader verifies all of it, keeps its previous
// content if that fails, and is notified when the file changes again.
package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Defaults of Options.
const (
	// DefaultDebounce is long enough for the events of one save to arrive,
	// and short enough for ssh to see a new key within half a second.
	DefaultDebounce = 150 * time.Millisecond
	// replaced is the debounce time after a rename into place, which brings a
	// complete file. A file that was just created is still being written.
	replaced = 20 * time.Millisecond
	// DefaultMaxDelay bounds how long a file that keeps changing is left alone.
	DefaultMaxDelay = 2 * time.Second
	// DefaultPoll is for file systems with events, because some get lost.
	DefaultPoll = 30 * time.Second
	// DefaultFastPoll is for file systems without events.
	DefaultFastPoll = 3 * time.Second
)

// Options configure a Watcher. The zero value uses the defaults.
type Options struct {
	// Debounce is the quiet time after an event before a look; MaxDelay is the
	// longest that further events can delay it.
	Debounce, MaxDelay time.Duration
	// Poll is the time between looks without an event, and FastPoll the same where
	// no events can be expected.
	Poll, FastPoll time.Duration
	// Match selects other files in the same folder to watch, by their base names,
	// such as the conflict copies that sync tools make.
	Match func(name string) bool
	// Rewrites also reports a file that was rewritten with the same content as at
	// the last look. A reader that writes the file itself needs this: its own
	// content may have come and gone between two looks.
	Rewrites bool
}

// Change reports what has changed since the last Change.
type Change struct {
	// Paths of the files that appeared, disappeared or have other content, sorted:
	// the watched path as it was given, others with their folder.
	Paths []string
}

// Status describes how changes are found.
type Status struct {
	// Events is set while the system reports changes.
	Events bool
	// Reason says, for the user, why it doesn't.
	Reason string
	// Poll is the time between looks without an event.
	Poll time.Duration
}

// Watcher watches a file until its context ends.
type Watcher struct {
	path string
	opts Options
	out  chan Change

	notify  *fsnotify.Watcher // nil if not available
	without string            // why notify is nil
	events  <-chan fsnotify.Event
	errs    <-chan error
	watched map[string]fileID // folders, and which one was at the path then
	links   map[string]bool   // paths whose events matter: the file, links to it, folders
	last    map[string]file   // what the last look found
	folders []string          // where Match applies

	mu     sync.Mutex // guards status
	status Status
}

// Watch begins to watch the file at path, which need not exist. Changes are relative
// to the state when Watch returns, so read the file after that. It fails only if path
// can't be made absolute.
func Watch(ctx context.Context, path string, opts Options) (*Watcher, error) {
	w, err := prepare(path, opts)
	if err != nil {
		return nil, err
	}
	go w.run(ctx)
	return w, nil
}

// prepare returns a Watcher whose goroutine has not started.
func prepare(path string, opts Options) (*Watcher, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", path, err)
	}
	opts.Debounce = or(opts.Debounce, DefaultDebounce)
	opts.MaxDelay = or(opts.MaxDelay, DefaultMaxDelay)
	opts.Poll = or(opts.Poll, DefaultPoll)
	opts.FastPoll = or(opts.FastPoll, DefaultFastPoll)
	if opts.Match == nil {
		opts.Match = func(string) bool { return false }
	}
	w := &Watcher{path: abs, opts: opts, out: make(chan Change), watched: map[string]fileID{}}
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		w.notify, w.without = nil, err.Error()
	} else {
		w.events, w.errs = w.notify.Events, w.notify.Errors
	}
	w.follow(nil)
	w.last = w.look()
	return w, nil
}

// or returns d if it is set, or instead.
func or(d, instead time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return instead
}

// Changes returns the channel of changes. Further changes are merged into one that
// hasn't been received, so a slow receiver misses none. The channel is closed when the
// context has ended and the watcher has released its resources.
func (w *Watcher) Changes() <-chan Change { return w.out }

// Status returns how changes are currently found.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// run is the watcher's only goroutine. Only it uses the watcher's fields.
func (w *Watcher) run(ctx context.Context) {
	defer close(w.out)
	if w.notify != nil {
		defer w.notify.Close()
	}
	events, errs := w.events, w.errs
	settle := time.NewTimer(time.Hour)
	settle.Stop()
	defer settle.Stop()
	poll := time.NewTimer(w.Status().Poll)
	defer poll.Stop()

	var since time.Time // the first event since the last look
	touch := func(quiet time.Duration) {
		now := time.Now()
		if since.IsZero() {
			since = now
		}
		settle.Reset(min(quiet, since.Add(w.opts.MaxDelay).Sub(now)))
	}
	pending := map[string]bool{}
	for {
		var out chan Change
		var next Change
		if len(pending) > 0 {
			out, next = w.out, Change{Paths: slices.Sorted(maps.Keys(pending))}
		}
		select {
		case <-ctx.Done():
			return
		case out <- next:
			clear(pending)
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if w.matters(e.Name) {
				quiet := w.opts.Debounce
				if e.Has(fsnotify.Create) && !empty(e.Name) {
					quiet = min(quiet, replaced)
				}
				touch(quiet)
			}
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.follow(err)
			}
			touch(w.opts.Debounce)
		case <-poll.C:
			w.follow(nil)
			if w.moved() {
				touch(w.opts.Debounce)
			}
			poll.Reset(w.Status().Poll)
		case <-settle.C:
			since = time.Time{}
			w.follow(nil)
			now := w.look()
			for _, path := range w.differing(w.last, now) {
				pending[path] = true
			}
			w.last = now
			poll.Reset(w.Status().Poll)
		}
	}
}

// empty reports whether the file is missing or empty, as one that was just created.
func empty(path string) bool {
	info, err := os.Stat(path)
	return err != nil || info.Size() == 0
}

// matters reports whether an event on the file called name is a reason to look.
func (w *Watcher) matters(name string) bool {
	return w.links[name] || slices.Contains(w.folders, filepath.Dir(name)) && w.opts.Match(filepath.Base(name))
}

// differing lists the files that aren't the same in both looks.
func (w *Watcher) differing(a, b map[string]file) []string {
	var paths []string
	for path, f := range b {
		if !f.same(a[path]) || w.opts.Rewrites && f.stamp != a[path].stamp {
			paths = append(paths, path)
		}
	}
	for path, f := range a {
		if _, ok := b[path]; !ok && f.exists {
			paths = append(paths, path)
		}
	}
	return paths
}
