package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Variables that make this test binary another process: the path to write, the
// step to be killed at, and its count.
const (
	helper   = "DURABLE_TEST_HELPER"
	killStep = "DURABLE_TEST_KILL_AT"
)

func TestMain(m *testing.M) {
	path := os.Getenv(helper)
	if path == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(killStep) == "" { // for strace
		fmt.Println(Replace(path, []byte(newContent), Options{Keep: true}))
		os.Exit(0)
	}
	at, _ := strconv.Atoi(os.Getenv(killStep))
	n := 0
	err := replace(func(string) error {
		if n++; n == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}, path, []byte(newContent), Options{Keep: true})
	fmt.Print(err)
}

const (
	oldContent = "the old content\n"
	newContent = "the new content, which is longer\n"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// file makes a file with the old content in a folder of its own.
func file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault.jsonl")
	if err := os.WriteFile(path, []byte(oldContent), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

// names lists a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestReplace(t *testing.T) {
	path := file(t)
	if err := Replace(path, []byte(newContent), Options{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != newContent {
		t.Errorf("content %q", got)
	}
	if info, _ := os.Stat(path); info.Mode() != 0o640 {
		t.Errorf("mode wasn't kept: %v", info.Mode())
	}
	if err := Replace(path, nil, Options{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode() != 0o600 || info.Size() != 0 {
		t.Errorf("%v, %d bytes", info.Mode(), info.Size())
	}
	if got := names(t, filepath.Dir(path)); got != "vault.jsonl" {
		t.Errorf("folder holds %s", got)
	}

	fresh := path + "2"
	if err := Replace(fresh, []byte("x"), Options{Keep: true}); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(fresh); info.Mode() != 0o600 {
		t.Errorf("new file has mode %v", info.Mode())
	}
	if list, err := History(fresh); err != nil || len(list) != 0 {
		t.Errorf("new file has history %v, %v", list, err)
	}
}

func TestReplaceThroughLinks(t *testing.T) {
	path := file(t)
	dir := t.TempDir()
	link, link2 := filepath.Join(dir, "v"), filepath.Join(dir, "v2")
	if err := errors.Join(os.Symlink(path, link), os.Symlink("v", link2)); err != nil {
		t.Fatal(err)
	}
	if err := Replace(link2, []byte(newContent), Options{Keep: true}); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Lstat(link); info.Mode()&fs.ModeSymlink == 0 || read(t, path) != newContent {
		t.Errorf("link is %v, its target %q", info.Mode(), read(t, path))
	}
	if list, err := History(link2); err != nil || len(list) != 1 {
		t.Errorf("history beside the name that was used: %v, %v", list, err)
	}

	os.Remove(path)
	if err := Replace(link, []byte("x"), Options{}); !errors.Is(err, ErrDangling) {
		t.Errorf("dangling link: %v", err)
	}
	if err := Replace(dir, []byte("x"), Options{}); err == nil {
		t.Error("a folder was replaced")
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Create(path, []byte("one"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("two"), 0); !errors.Is(err, fs.ErrExist) || read(t, path) != "one" {
		t.Errorf("second: %v, content %q", err, read(t, path))
	}
	if info, _ := os.Stat(path); info.Mode() != 0o400 {
		t.Errorf("mode %v", info.Mode())
	}
	var wg sync.WaitGroup
	var made int
	var mu sync.Mutex
	for i := range 16 {
		wg.Go(func() {
			err := Create(path+"2", []byte{byte(i)}, 0)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("%d writers made the file", made)
	}
	if got := names(t, filepath.Dir(path)); got != "f f2" {
		t.Errorf("folder holds %s", got)
	}
}

func TestMkdirAllAndRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "f")
	os.WriteFile(path, nil, 0o600)
	if err := MkdirAll(filepath.Join(path, "x"), 0o700); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	if err := Remove(path); err != nil {
		t.Error(err)
	}
	if err := Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("again: %v", err)
	}
}

// Every step that fails leaves the old file or the new one, says which, and
// leaves no temporary file.
func TestFailureAtEachStep(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EDQUOT} {
		for at := 1; ; at++ {
			path := file(t)
			n, step := 0, ""
			err := replace(func(s string) error {
				if n++; n == at {
					step = s
					return errno
				}
				return nil
			}, path, []byte(newContent), Options{Keep: true})
			if step == "" {
				if err != nil || at < 8 {
					t.Fatalf("%d steps, %v", at-1, err)
				}
				break
			}
			var we *WriteError
			if !errors.Is(err, errno) || !errors.As(err, &we) || we.Path != path || we.Step != step {
				t.Fatalf("%s: %v", step, err)
			}
			want := oldContent
			if we.Replaced {
				want = newContent
			}
			if got := read(t, path); got != want {
				t.Errorf("%s: %v, and the file holds %q", step, err, got)
			}
			if got := names(t, filepath.Dir(path)); strings.Contains(got, tmpTag) {
				t.Errorf("%s: left %s", step, got)
			}
		}
	}
}

// A file on which any step fails or is killed takes the next write.
func TestKillAtEachStep(t *testing.T) {
	for at := 1; ; at++ {
		path := file(t)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), helper+"="+path, fmt.Sprintf("%s=%d", killStep, at))
		out, err := cmd.Output()
		if err == nil {
			if string(out) != "<nil>" || read(t, path) != newContent || at < 8 {
				t.Fatalf("killed nowhere before step %d: %s", at, out)
			}
			break
		}
		if got := read(t, path); got != oldContent && got != newContent {
			t.Fatalf("killed at step %d: the file holds %q", at, got)
		}
		killed := read(t, path)
		if err := Replace(path, []byte("third"), Options{Keep: true}); err != nil {
			t.Fatal(err)
		}
		if got := names(t, filepath.Dir(path)); strings.Contains(got, tmpTag) {
			t.Errorf("killed at step %d: %s is left after another write", at, got)
		}
		list, err := History(path)
		if err != nil || len(list) == 0 {
			t.Fatalf("killed at step %d: history %v, %v", at, list, err)
		}
		if got, err := ReadGeneration(path, list[0].Name); err != nil || string(got) != killed {
			t.Errorf("killed at step %d: newest generation %q, %v", at, got, err)
		}
		if len(list) > 1 { // no generation twice
			if got, _ := ReadGeneration(path, list[1].Name); string(got) == killed {
				t.Errorf("killed at step %d: kept twice", at)
			}
		}
	}
}

// A disk that is really full.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("can't mount a small disk: %v, %s", err, out)
	}
	defer exec.Command("umount", dir).Run()
	path := filepath.Join(dir, "vault.jsonl")
	if err := Replace(path, []byte(oldContent), Options{}); err != nil {
		t.Fatal(err)
	}
	err := Replace(path, bytes.Repeat([]byte("x"), 1<<20), Options{Keep: true})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the file is unchanged") {
		t.Errorf("full disk: %v", err)
	}
	if got := read(t, path); got != oldContent {
		t.Errorf("the file holds %q", got)
	}
	if got := names(t, dir); got != "vault.jsonl" {
		t.Errorf("folder holds %s", got)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v, %s", err, out)
	}
	if err := Replace(path, []byte(newContent), Options{}); !errors.Is(err, syscall.EROFS) || read(t, path) != oldContent {
		t.Errorf("read-only disk: %v", err)
	}
}

// Many writers and a reader: the reader sees whole contents only, and nobody's
// temporary file is swept away.
func TestConcurrentReplace(t *testing.T) {
	path := file(t)
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 10_000) }
	if err := Replace(path, content(0), Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writers, reader sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for range 10 {
				if err := Replace(path, content(i), Options{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	reader.Go(func() {
		for ctx.Err() == nil {
			data, err := os.ReadFile(path)
			if err != nil || len(data) != 10_000 || !bytes.Equal(data, content(int(data[0]-'a'))) {
				t.Errorf("read %d bytes, %v", len(data), err)
				return
			}
		}
	})
	writers.Wait()
	cancel()
	reader.Wait()
	if got := names(t, filepath.Dir(path)); got != "vault.jsonl" {
		t.Errorf("folder holds %s", got)
	}
}

func TestUpdateLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counter")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				err := Update(t.Context(), path, Options{Keep: true}, func(old []byte) ([]byte, error) {
					return append(slices.Clone(old), '.'), nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(read(t, path)); got != 40 {
		t.Errorf("%d of 40 updates are there", got)
	}
	mine := errors.New("mine")
	if err := Update(t.Context(), path, Options{}, func([]byte) ([]byte, error) { return []byte("x"), mine }); err != mine {
		t.Errorf("got %v", err)
	}
	if err := Update(t.Context(), path, Options{}, func([]byte) ([]byte, error) { return nil, nil }); err != nil {
		t.Errorf("got %v", err)
	}
	if got := len(read(t, path)); got != 40 {
		t.Errorf("an update that changed its mind wrote %d bytes", got)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	a, err := AcquireLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := AcquireLock(done, path); !errors.Is(err, ErrLocked) || !errors.Is(err, context.Canceled) {
		t.Errorf("held: %v", err)
	}
	got := make(chan error)
	go func() {
		b, err := AcquireLock(t.Context(), path)
		if err == nil {
			err = b.Release()
		}
		got <- err
	}()
	if err := a.Release(); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Errorf("waiting for it: %v", err)
	}
	if err := a.Release(); err != nil {
		t.Errorf("released twice: %v", err)
	}
	if c, err := AcquireLock(done, path); err != nil {
		t.Errorf("a free lock and an ended context: %v", err)
	} else {
		c.Release()
	}
	if err := os.Symlink("elsewhere", path+"2"); err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireLock(t.Context(), path+"2"); err == nil {
		t.Error("a lock file that is a link was followed")
	}
}

// The calls stand in the package comment in this order.
func TestReplaceTrace(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace isn't installed")
	}
	path := file(t)
	out := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-o", out, "-e",
		"trace=openat,flock,fchmod,write,fsync,mkdirat,linkat,renameat,renameat2,unlinkat", os.Args[0])
	cmd.Env = append(os.Environ(), helper+"="+path)
	if said, err := cmd.CombinedOutput(); err != nil || string(said) != "<nil>\n" {
		t.Skipf("strace doesn't work here: %v, %s", err, said)
	}
	dir := filepath.Dir(path)
	var got []string
	for _, call := range calls(read(t, out)) {
		if !strings.Contains(call, dir) {
			continue
		}
		name, args, _ := strings.Cut(call, "(")
		switch {
		case name == "openat" && !strings.Contains(args, "O_CREAT"):
			continue
		case strings.Contains(args, tmpTag) && name != "renameat":
			name += " temp"
		case strings.HasSuffix(strings.TrimSuffix(strings.SplitN(args, ">", 2)[0], ">"), HistoryDir):
			name += " history"
		case name == "fsync":
			name += " folder"
		}
		got = append(got, name)
	}
	want := []string{
		"openat temp", "flock temp", "fchmod temp", "write temp", "fsync temp",
		"mkdirat", "fsync folder", "linkat", "fsync history", "renameat", "fsync folder",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%s", got, want, read(t, out))
	}
}

// calls returns the calls of a trace in the order in which they began. strace cuts
// one in two, "<unfinished ...>" and "<... resumed>", when another thread has
// something to report before it ends.
func calls(trace string) []string {
	var list []string
	unfinished := map[string]int{} // by thread: where its call stands in the list
	for line := range strings.Lines(trace) {
		thread, said, _ := strings.Cut(strings.TrimSpace(line), " ")
		said = strings.TrimSpace(said)
		if strings.HasPrefix(said, "<... ") {
			_, rest, _ := strings.Cut(said, " resumed>")
			if i, ok := unfinished[thread]; ok {
				list[i] += rest
				delete(unfinished, thread)
			}
			continue
		}
		call, cut := strings.CutSuffix(said, " <unfinished ...>")
		if cut {
			unfinished[thread] = len(list)
		}
		list = append(list, call)
	}
	return list
}

func TestCalls(t *testing.T) {
	got := calls("1 openat(AT_FDCWD, \"/a\", O_CREAT, 0600 <unfinished ...>\n" +
		"2 fsync(4</b>) = 0\n" +
		"2 write(4</b>, \"x\", 1 <unfinished ...>\n" +
		"3 --- SIGURG {si_signo=SIGURG} ---\n" +
		"1 <... openat resumed>)             = 7</a>\n" +
		"2 <... write resumed>) = 1\n" +
		"1 fsync(7</a> <unfinished ...>\n" +
		"1 <... fsync resumed>) = 0\n")
	want := []string{
		"openat(AT_FDCWD, \"/a\", O_CREAT, 0600)             = 7</a>", "fsync(4</b>) = 0",
		"write(4</b>, \"x\", 1) = 1", "--- SIGURG {si_signo=SIGURG} ---", "fsync(7</a>) = 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestHistory(t *testing.T) {
	path := file(t)
	for i := range 15 {
		if err := Replace(path, fmt.Appendf(nil, "%d", i), Options{Keep: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := Replace(path, []byte("14"), Options{Keep: true}); err != nil { // nothing new
		t.Fatal(err)
	}
	list, err := History(path)
	if err != nil || len(list) != KeepNewest {
		t.Fatalf("%d generations, %v", len(list), err)
	}
	for i, g := range list {
		want := strconv.Itoa(13 - i)
		if got, err := ReadGeneration(path, g.Name); err != nil || string(got) != want || g.Size != int64(len(want)) {
			t.Errorf("generation %d is %q, %v, want %q", i, got, err, want)
		}
		if i > 0 && !g.Time.Before(list[i-1].Time) {
			t.Errorf("generation %d of %v isn't older than that of %v", i, g.Time, list[i-1].Time)
		}
	}
	for _, name := range []string{"", "../vault.jsonl", "vault.jsonl.x", list[0].Name + "x"} {
		if _, err := ReadGeneration(path, name); !errors.Is(err, ErrGeneration) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if other, err := History(filepath.Join(filepath.Dir(path), "vault")); err != nil || len(other) != 0 {
		t.Errorf("another file's history: %v, %v", other, err)
	}
}

// Where the history can't hold links to the file, it holds copies.
func TestHistoryWithoutLinks(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EXDEV, syscall.EPERM, syscall.ENOTSUP} {
		path := file(t)
		err := replace(func(step string) error {
			if step == "link" {
				return errno
			}
			return nil
		}, path, []byte(newContent), Options{Keep: true})
		if err != nil {
			t.Fatal(err)
		}
		list, err := History(path)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if got, err := ReadGeneration(path, list[0].Name); err != nil || string(got) != oldContent || read(t, path) != newContent {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A clock that was set back doesn't put a new generation behind older ones.
func TestHistoryWithAClockSetBack(t *testing.T) {
	path := file(t)
	future := time.Now().UTC().Add(100 * 24 * time.Hour).Format(stamp)
	if err := os.Mkdir(filepath.Join(filepath.Dir(path), HistoryDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), HistoryDir, "vault.jsonl."+future), []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte(newContent), Options{Keep: true}); err != nil {
		t.Fatal(err)
	}
	list, err := History(path)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if got, _ := ReadGeneration(path, list[0].Name); string(got) != oldContent {
		t.Errorf("the newest is %q", got)
	}
}

func TestWhatExpires(t *testing.T) {
	at := func(day, hour int) Generation {
		when := time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC).AddDate(0, 0, day)
		return Generation{Name: when.Format("01-02T15"), Time: when}
	}
	var list []Generation
	for day := 50; day > 0; day-- {
		for hour := 3; hour > 0; hour-- {
			list = append(list, at(day, hour))
		}
	}
	gone := map[string]bool{}
	for _, g := range expired(list) {
		gone[g.Name] = true
	}
	for i, g := range list {
		newestOfDay := g.Time.Hour() == 3
		want := i >= KeepNewest && (!newestOfDay || i >= KeepDays*3)
		if gone[g.Name] != want {
			t.Errorf("%s: expired %v, want %v", g.Name, gone[g.Name], want)
		}
	}
	if left := len(list) - len(gone); left != KeepDays+6 { // 6 of the 10 newest are no day's newest
		t.Errorf("%d are left", left)
	}
}
