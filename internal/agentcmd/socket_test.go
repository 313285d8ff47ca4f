package agentcmd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The hashes are in the names of sockets that OpenSSH 10.5 made on hosts of these names.
func TestHostHash(t *testing.T) {
	for name, want := range map[string]string{
		"ada": "kIGR9CdjS4", "localhost": "ty5jXgL98F", "build-7.example.org": "k6hx4vdXcC", "x": "OVAgqlyTgf",
	} {
		if got := hostHash(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestRandomNames(t *testing.T) {
	seen := map[rune]bool{}
	for range 200 {
		name := random(socketLetters)
		if len(name) != socketLetters {
			t.Fatalf("%q", name)
		}
		for _, r := range name {
			seen[r] = true
		}
	}
	if len(seen) != len(letters) {
		t.Errorf("%d of %d letters are in use", len(seen), len(letters))
	}
}

// shortDir makes a folder whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "agentcmd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestWhereSocketsLie(t *testing.T) {
	dir := shortDir(t)
	environ := []string{"HOME=" + dir, "TMPDIR=" + dir}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	hash := `s\.[a-zA-Z0-9]{10}\.local\.[0-9]+\.[a-zA-Z0-9]{10}$`
	for _, tc := range []struct {
		c    Command
		want string // below dir
	}{
		{Command{}, `\.ssh/agent/` + hash},
		{Command{Folder: "user:a/b"}, `a/b/` + hash},
		{Command{Folder: "user:" + dir + "/abs"}, `abs/` + hash},
		{Command{Folder: "user:%h/x%%"}, `x%/` + hash},
		{Command{Folder: "user:%u-%U"}, fmt.Sprintf("%s-%d/", regexp.QuoteMeta(u.Username), os.Getuid()) + hash},
		{Command{Folder: "shared:" + dir}, `ssh-[a-zA-Z0-9]{12}/agent\.[0-9]+$`},
		{Command{Temporary: true}, `ssh-[a-zA-Z0-9]{12}/agent\.[0-9]+$`},
		{Command{Socket: dir + "/given"}, `given$`},
	} {
		at, err := listen(&tc.c, environ)
		if err != nil {
			t.Errorf("%+v: %v", tc.c, err)
			continue
		}
		if ok, _ := regexp.MatchString("^"+regexp.QuoteMeta(dir)+"/"+tc.want, at.socket); !ok {
			t.Errorf("%+v: %s", tc.c, at.socket)
		}
		info, err := os.Stat(at.socket)
		if err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("%s: %v, %v", at.socket, info, err)
		}
		folder, err := os.Stat(filepath.Dir(at.socket))
		if err != nil || folder.Mode().Perm() != 0o700 {
			t.Errorf("the folder of %s: %v, %v", at.socket, folder, err)
		}
		at.release()
		if _, err := os.Stat(at.socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left", at.socket)
		}
		if _, err := os.Stat(at.folder); at.folder != "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left", at.folder)
		}
	}
}

func TestPlacesThatAreRefused(t *testing.T) {
	dir := shortDir(t)
	environ := []string{"HOME=" + dir, "TMPDIR=" + dir + "/none"}
	for _, c := range []Command{
		{Folder: "run"},
		{Folder: "other:/tmp"},
		{Folder: "shared:tmp"},
		{Folder: "shared:" + dir + "/none"},
		{Folder: "user:%"},
		{Folder: "user:%x"},
		{Temporary: true},
		{Socket: dir + "/none/s"},
		{Folder: "user:" + strings.Repeat("x", 100)},
	} {
		if at, err := listen(&c, environ); err == nil {
			t.Errorf("%+v: made %s", c, at.socket)
			at.release()
		}
	}
}

// A relative path is removed at the end wherever the process is then.
func TestRelativeSocket(t *testing.T) {
	dir := shortDir(t)
	t.Chdir(dir)
	at, err := listen(&Command{Socket: "s"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if at.socket != "s" || !filepath.IsAbs(at.listener.Path()) {
		t.Errorf("socket %q, path %q", at.socket, at.listener.Path())
	}
	t.Chdir("/")
	at.release()
	if _, err := os.Stat(filepath.Join(dir, "s")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}

func TestRemoveStale(t *testing.T) {
	prefix, err := hostPrefix()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	old := time.Now().Add(-staleAge - time.Minute)
	socketAt := func(name string, when time.Time, alive bool) {
		path := filepath.Join(dir, name)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if alive {
			t.Cleanup(func() { l.Close() })
		} else {
			l.Close()
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	socketAt(prefix+"agent.dead", old, false)
	socketAt(prefix+"local.1.dead", old, false)
	socketAt(prefix+"agent.alive", old, true)
	socketAt(prefix+"agent.young", time.Now(), false)
	socketAt("s.otherhost0.agent.dead", old, false)
	socketAt("unrelated", old, false)
	if err := os.WriteFile(filepath.Join(dir, prefix+"file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "unrelated"), filepath.Join(dir, prefix+"link")); err != nil {
		t.Fatal(err)
	}
	left := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, strings.TrimPrefix(e.Name(), prefix))
		}
		return names
	}
	expect := func(names ...string) {
		t.Helper()
		slices.Sort(names)
		got := left()
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("left are %v, want %v", got, names)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, prefix+"file"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := removeStale(dir, false); err != nil {
		t.Fatal(err)
	}
	expect("agent.alive", "agent.young", "file", "link", "s.otherhost0.agent.dead", "unrelated")
	if err := removeStale(dir, true); err != nil {
		t.Fatal(err)
	}
	expect("agent.alive", "agent.young", "file", "link")
	if err := removeStale(filepath.Join(dir, "none"), false); err != nil {
		t.Errorf("a folder that isn't there: %v", err)
	}
}

// A socket that another agent serves is left to it.
func TestSocketInUseIsLeftAlone(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := listen(&Command{Socket: path}, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	if _, err := net.Dial("unix", path); err != nil {
		t.Errorf("it answers no more: %v", err)
	}
}
