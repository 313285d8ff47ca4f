package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// What leaves the content as it was is no change: the next one told is the next
// content.
func TestNoChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "same")
	// Every event and poll leads to a look, and looks are counted.
	w, err := prepare(path, polling)
	must(t, err)
	defer w.notify.Close()
	for name, act := range map[string]func(){
		"touch":            func() { must(t, os.Chtimes(path, time.Now(), time.Now().Add(-time.Hour))) },
		"mode":             func() { must(t, os.Chmod(path, 0o640)) },
		"rewrite in place": func() { write(t, path, "same") },
		"replace":          func() { replace(t, path, "same") },
		"a neighbour":      func() { write(t, path+"2", "other") },
		"nothing":          func() {},
	} {
		act()
		now := w.look()
		if d := (&Watcher{}).differing(w.last, now); len(d) != 0 {
			t.Errorf("%s: %v", name, d)
		}
		w.last = now
	}
	write(t, path, "SAME")
	if d := (&Watcher{}).differing(w.last, w.look()); !slices.Equal(d, []string{path}) {
		t.Errorf("a change: %v", d)
	}
}

// A second change within one tick of the file system's clock has the stamp of
// the first, and is found all the same.
func TestChangeBehindTheSameStamp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "1")
	w, err := prepare(path, polling)
	must(t, err)
	defer w.notify.Close()
	write(t, path, "2")
	info, err := os.Stat(path)
	must(t, err)
	first := w.last[path]
	first.stamp = stampOf(info)
	w.last[path] = first
	if !w.moved() {
		t.Error("a poll trusts a stamp this young")
	}
	if d := (&Watcher{}).differing(w.last, w.look()); len(d) != 1 {
		t.Errorf("found %v", d)
	}
	// An older stamp is trusted, and the content not read again.
	old := examine(path, file{})
	old.recent = false
	old.sum[0] ^= 1
	if got := examine(path, old); got.sum != old.sum {
		t.Error("a file whose stamp proves its content was read")
	}
}

// Lost events mean a look, not a loss.
func TestOverflow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "0")
	errs := make(chan error)
	w := begin(t, path, quick, func(w *Watcher) { w.events, w.errs = nil, errs })
	write(t, path, "1")
	errs <- fsnotify.ErrEventOverflow
	w.until("1")
	if s := w.Status(); !s.Events {
		t.Errorf("status %+v", s)
	}
	write(t, path, "2")
	errs <- errors.New("inotify broke")
	w.until("2")
}

// A slow receiver gets everything that happened at once.
func TestSlowReceiver(t *testing.T) {
	dir := t.TempDir()
	opts := quick
	opts.Match = func(string) bool { return true }
	w := begin(t, dir+"/a", opts)
	var want []string
	for _, name := range []string{"a", "b", "c"} {
		write(t, filepath.Join(dir, name), "x")
		want = append(want, filepath.Join(dir, name))
	}
	var got []string
	deadline := time.After(soon)
	for len(got) < len(want) {
		select {
		case c := <-w.Changes():
			got = append(got, c.Paths...)
		case <-deadline:
			t.Fatalf("told of %v", got)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
}

// A file that never settles is looked at all the same.
func TestNeverSettles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	opts := quick
	opts.Debounce, opts.MaxDelay = time.Hour, 50*time.Millisecond
	w := begin(t, path, opts)
	write(t, path, "1")
	w.until("1")
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write(t, path, "1")
	w, err := prepare(path, polling)
	must(t, err)
	defer w.notify.Close()
	must(t, os.Remove(path), os.Mkdir(path, 0o700))
	now := w.look()
	if d := (&Watcher{}).differing(w.last, now); len(d) != 1 || now[path].fail == "" {
		t.Errorf("a folder in its place: %v, %+v", d, now[path])
	}
	w.last = now
	if d := (&Watcher{}).differing(w.last, w.look()); len(d) != 0 {
		t.Errorf("told twice: %v", d)
	}
	if !w.moved() {
		t.Error("polling gave up on it")
	}
}

func TestEndOfTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	ctx, cancel := context.WithCancel(t.Context())
	w, err := Watch(ctx, path, Options{})
	must(t, err)
	cancel()
	if _, ok := <-w.Changes(); ok {
		t.Error("a change of nothing")
	}
	if err := w.notify.Add(filepath.Dir(path)); !errors.Is(err, fsnotify.ErrClosed) {
		t.Errorf("the system's watch is still there: %v", err)
	}
}

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t,
		os.MkdirAll(dir+"/a/b", 0o700),
		os.Symlink("a", dir+"/folder"),
		os.Symlink("../../file", dir+"/a/b/up"),
		os.Symlink(dir+"/folder/b/up", dir+"/abs"),
		os.Symlink("loop2", dir+"/loop"), os.Symlink("loop", dir+"/loop2"),
	)
	for _, tc := range []struct{ path, links, target string }{
		{"/file", "", "/file"},
		{"/nowhere/at/all", "", "/nowhere/at/all"},
		{"/folder/x", "/folder", "/a/x"},
		{"/abs", "/abs /folder /a/b/up", "/file"},
	} {
		links, target := resolve(dir + tc.path)
		for i := range links {
			links[i] = strings.TrimPrefix(links[i], dir)
		}
		if got := strings.Join(links, " "); got != tc.links || target != dir+tc.target {
			t.Errorf("%s: links %q to %s", tc.path, got, target)
		}
	}
	if links, _ := resolve(dir + "/loop"); len(links) != maxLinks {
		t.Errorf("a loop has %d links", len(links))
	}
}

// A reader that writes the file itself may have seen a content that no look
// did: with Rewrites it hears of the content that the last look saw, too.
func TestRewriteOfTheSameContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	w, err := Watch(t.Context(), path, Options{Rewrites: true})
	if err != nil {
		t.Fatal(err)
	}
	put("new")
	put("old")
	select {
	case c := <-w.Changes():
		if !slices.Contains(c.Paths, path) {
			t.Errorf("told of %v", c.Paths)
		}
	case <-time.After(20 * time.Second):
		t.Error("not told")
	}
}
