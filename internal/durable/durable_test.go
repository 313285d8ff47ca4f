package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
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
