package watch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

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
		name: "as vim writes: moved to a backup, rewritten", path: "sub/vault.jsonl",
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
