package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// soon is how long a test waits for what must come; nothing takes so long.
const soon = 20 * time.Second

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

// scenes are the ways in which a file changes; each starts with a folder that
// holds sub/vault.jsonl with "0".
var scenes = []struct {
	name string
	path string // that is watched, below the folder
	prep func(t *testing.T, dir string)
	act  func(t *testing.T, dir string, w *watched)
}{
	{
		name: "replaced by renames", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			for i := 1; i <= 3; i++ {
				replace(t, w.path, fmt.Sprint(i))
				w.until(fmt.Sprint(i))
			}
		},
	},
	{
		name: "rewritten in place", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			for i := 1; i <= 3; i++ {
				write(t, w.path, fmt.Sprint(i)) // the same size each time
				w.until(fmt.Sprint(i))
			}
		},
	},
	{
		name: "truncated, then written in pieces", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			for _, piece := range []string{"a", "b", "c"} {
				_, err := f.WriteString(piece)
				must(t, err)
			}
			must(t, f.Close())
			w.until("abc")
		},
	},
	{
		name: "as vim writes: moved to a backup, written anew", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			must(t, os.Rename(w.path, w.path+"~"))
			write(t, w.path, "vim")
			must(t, os.Remove(w.path+"~"))
			w.until("vim")
		},
	},
	{
		name: "removed and made again", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			must(t, os.Remove(w.path))
			select {
			case <-w.Changes():
			case <-time.After(soon):
				t.Fatal("no change told of the removal")
			}
			write(t, w.path, "back")
			w.until("back")
		},
	},
	{
		name: "appears", path: "sub/later",
		act: func(t *testing.T, dir string, w *watched) {
			write(t, w.path, "here")
			w.until("here")
		},
	},
	{
		name: "behind a link, replaced at its target", path: "link",
		prep: func(t *testing.T, dir string) { must(t, os.Symlink("sub/vault.jsonl", dir+"/link")) },
		act: func(t *testing.T, dir string, w *watched) {
			for i := 1; i <= 3; i++ {
				replace(t, dir+"/sub/vault.jsonl", fmt.Sprint(i))
				w.until(fmt.Sprint(i))
			}
		},
	},
	{
		name: "behind a link that is turned elsewhere", path: "link",
		prep: func(t *testing.T, dir string) { must(t, os.Symlink("sub/vault.jsonl", dir+"/link")) },
		act: func(t *testing.T, dir string, w *watched) {
			must(t, os.Mkdir(dir+"/other", 0o700))
			write(t, dir+"/other/v", "other")
			must(t, os.Symlink(dir+"/other/v", dir+"/link2"), os.Rename(dir+"/link2", dir+"/link"))
			w.until("other")
			replace(t, dir+"/other/v", "newer")
			w.until("newer")
		},
	},
	{
		name: "behind a folder that is a link, and is turned elsewhere", path: "folder/vault.jsonl",
		prep: func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/releases", 0o700), os.Rename(dir+"/sub", dir+"/releases/1"), os.Symlink("releases/1", dir+"/folder"))
		},
		act: func(t *testing.T, dir string, w *watched) {
			must(t, os.Mkdir(dir+"/releases/2", 0o700))
			write(t, dir+"/releases/2/vault.jsonl", "two")
			must(t, os.Symlink("releases/2", dir+"/new"), os.Rename(dir+"/new", dir+"/folder"))
			w.until("two")
			replace(t, dir+"/releases/2/vault.jsonl", "newer")
			w.until("newer")
		},
	},
	{
		name: "folder swapped", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			for i := 1; i <= 3; i++ {
				must(t, os.Mkdir(dir+"/new", 0o700))
				write(t, dir+"/new/vault.jsonl", fmt.Sprint(i))
				must(t, os.Rename(dir+"/sub", fmt.Sprintf("%s/old%d", dir, i)), os.Rename(dir+"/new", dir+"/sub"))
				w.until(fmt.Sprint(i))
				replace(t, w.path, "in it")
				w.until("in it")
			}
		},
	},
	{
		name: "folder removed and made again", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			for i := 1; i <= 3; i++ {
				must(t, os.RemoveAll(dir+"/sub"), os.Mkdir(dir+"/sub", 0o700))
				write(t, w.path, fmt.Sprint(i))
				w.until(fmt.Sprint(i))
				replace(t, w.path, "in it")
				w.until("in it")
			}
		},
	},
	{
		name: "by git", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			git := func(args ...string) {
				t.Helper()
				cmd := exec.Command("git", append([]string{"-C", dir + "/sub", "-c", "user.name=n", "-c", "user.email=e@x"}, args...)...)
				cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if _, err := exec.LookPath("git"); err != nil {
				t.Skip("git isn't installed")
			}
			git("init", "-q", "-b", "main")
			git("add", "vault.jsonl")
			git("commit", "-q", "-m", "0")
			git("checkout", "-q", "-b", "side")
			write(t, w.path, "1")
			w.until("1")
			git("commit", "-q", "-a", "-m", "1")
			git("checkout", "-q", "main")
			w.until("0")
			git("merge", "-q", "side")
			w.until("1")
		},
	},
	{
		name: "a thousand times", path: "sub/vault.jsonl",
		act: func(t *testing.T, dir string, w *watched) {
			go func() {
				for i := range 1000 {
					if err := os.WriteFile(w.path, fmt.Append(nil, i), 0o600); err != nil {
						t.Error(err)
					}
				}
			}()
			w.until("999")
		},
	},
}

func TestChanges(t *testing.T) {
	for _, mode := range []struct {
		name   string
		opts   Options
		before []func(*Watcher)
	}{
		{"by events", quick, nil},
		{"by polling", polling, []func(*Watcher){deaf}},
	} {
		for _, scene := range scenes {
			t.Run(mode.name+": "+scene.name, func(t *testing.T) {
				dir := t.TempDir()
				must(t, os.Mkdir(dir+"/sub", 0o700))
				write(t, dir+"/sub/vault.jsonl", "0")
				if scene.prep != nil {
					scene.prep(t, dir)
				}
				w := begin(t, filepath.Join(dir, scene.path), mode.opts, mode.before...)
				scene.act(t, dir, w)
			})
		}
	}
}

// A missing folder has no events; polling finds it, and then they come.
func TestFolderThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	opts := quick
	opts.FastPoll = 5 * time.Millisecond
	w := begin(t, dir+"/a/b/vault.jsonl", opts)
	if s := w.Status(); s.Events || s.Reason == "" || s.Poll != opts.FastPoll {
		t.Errorf("status %+v", s)
	}
	must(t, os.MkdirAll(dir+"/a/b", 0o700))
	write(t, w.path, "1")
	w.until("1")
	if s := w.Status(); !s.Events || s.Reason != "" || s.Poll != opts.Poll {
		t.Errorf("status %+v", s)
	}
	replace(t, w.path, "2")
	w.until("2")
}

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

func TestNeighbours(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vault.jsonl")
	write(t, path, "0")
	for _, mode := range []string{"events", "polling"} {
		t.Run(mode, func(t *testing.T) {
			opts, before := quick, []func(*Watcher){}
			if mode == "polling" {
				opts, before = polling, append(before, deaf)
			}
			opts.Match = func(name string) bool { return strings.Contains(name, "conflict") }
			w := begin(t, path, opts, before...)
			expect := func(want string) {
				t.Helper()
				deadline := time.After(soon)
				for {
					select {
					case c := <-w.Changes():
						if slices.Contains(c.Paths, want) {
							return
						}
						t.Fatalf("told of %v, want %s", c.Paths, want)
					case <-deadline:
						t.Fatalf("not told of %s", want)
					}
				}
			}
			write(t, dir+"/unrelated", "x")
			copied := dir + "/vault (conflicted copy).jsonl"
			replace(t, copied, mode)
			expect(copied)
			must(t, os.Remove(copied))
			expect(copied)
		})
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
