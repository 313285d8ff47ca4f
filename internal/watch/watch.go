// Package watch notices that a file changed, whatever changed it and whatever
// file system it is on: rewritten in place, replaced by a rename, behind
// symbolic links, in a folder that is itself replaced, or where no events come.
//
// Events only say when to look; what counts is what a look finds. Folders are
// watched, as a watch on the file dies with its first replacement. After an
// event the file is left to settle, for a shorter time after a rename into place,
// then compared by (device, inode, size, times) and, if one of them moved, by
// SHA-256, so that a touch or a rewrite of the same content is no change. A slow
// poll finds what events missed; it is a fast one on file systems known for having
// none, and where watching fails.
//
// What is found may be half-written. The reader verifies the whole file, keeps
// what it had when that fails, and is told again when the file changes again.
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
	// replaced is the same after a rename into place: what arrives that way is
	// whole already. A file that was only made has writes following.
	replaced = 20 * time.Millisecond
	// DefaultMaxDelay bounds how long a file that never settles is left alone.
	DefaultMaxDelay = 2 * time.Second
	// DefaultPoll is for file systems with events, which still get lost.
	DefaultPoll = 30 * time.Second
	// DefaultFastPoll is for those without.
	DefaultFastPoll = 3 * time.Second
)

// Options may be left zero.
type Options struct {
	// Debounce is the quiet time after an event before a look; MaxDelay is
	// the most that events which go on can put it off.
	Debounce, MaxDelay time.Duration
	// Poll is the time between looks without an event, and FastPoll the same
	// where no events are to be expected.
	Poll, FastPoll time.Duration
	// Match picks other files of the same folder to watch too, by their base
	// names, such as the conflict copies that sync tools make.
	Match func(name string) bool
	// Rewrites tells also of a file that was rewritten with the content that
	// the last look saw. A reader that writes the file itself needs it: its own
	// content may have come and gone between two looks.
	Rewrites bool
}

// Change says what is different from the time before.
type Change struct {
	// Paths of the files that appeared, vanished or have another content,
	// sorted: the watched path as it was given, others with their folder.
	Paths []string
}

// Status says how changes are found.
type Status struct {
	// Events is set while the system reports changes by itself.
	Events bool
	// Reason says why it doesn't, in words for the user.
	Reason string
	// Poll is the time between looks without an event.
	Poll time.Duration
}

// Watcher watches until its context ends.
type Watcher struct {
	path string
	opts Options
	out  chan Change

	notify  *fsnotify.Watcher // nil when it can't be had
	without string            // and why
	events  <-chan fsnotify.Event
	errs    <-chan error
	watched map[string]fileID // folders, and which one was at the path then
	links   map[string]bool   // paths whose events matter: the file, links to it, folders
	last    map[string]file   // what the last look found
	folders []string          // where Match applies

	mu     sync.Mutex // guards status
	status Status
}

// Watch begins to watch the file at path, which needs not exist. What is there
// when it returns is the state that changes are told from; so read the file
// after that. The error says that path can't be made absolute.
func Watch(ctx context.Context, path string, opts Options) (*Watcher, error) {
	w, err := prepare(path, opts)
	if err != nil {
		return nil, err
	}
	go w.run(ctx)
	return w, nil
}

// prepare does what Watch does before its goroutine starts.
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

// or returns d, or instead where d isn't set.
func or(d, instead time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return instead
}

// Changes delivers changes. One that isn't received yet takes up the following
// ones, so a slow receiver misses none and gets them at once. The channel is
// closed when the context has ended and the watcher holds nothing any more.
func (w *Watcher) Changes() <-chan Change { return w.out }

// Status tells how changes are found at the moment.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// run is the watcher's one goroutine: it alone uses its fields.
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

	var since time.Time // the first event not looked after yet
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

// empty tells of a file that was only made, and is written next.
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
