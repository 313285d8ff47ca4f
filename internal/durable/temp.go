package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tmpTag and tmpRandom make up the name of a temporary file: ".NAME.tmp-XXXXXXXX".
// It begins with a dot, so that sync tools and directory listings ignore it.
const (
	tmpTag    = ".tmp-"
	tmpRandom = 4 // bytes, written as hex
)

// writeTemp writes and syncs a temporary file beside target, and returns it open,
// because its lock shows that it isn't a leftover. On an error it removes the file.
func writeTemp(t trace, path, target string, data []byte, mode fs.FileMode) (*os.File, error) {
	sweep(target)
	f, err := openTemp(t, path, target)
	if err != nil {
		return nil, err
	}
	steps := []struct {
		name string
		f    func() error
	}{
		{"fchmod", func() error { return f.Chmod(mode) }},
		{"write", func() error { _, err := f.Write(data); return err }},
		{"fsync", f.Sync},
	}
	for _, s := range steps {
		if err := t.do(path, s.name, s.f); err != nil {
			_ = os.Remove(f.Name())
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// openTemp makes a temporary file and locks it. If another process's sweep removes
// the file in between, it tries another name.
func openTemp(t trace, path, target string) (*os.File, error) {
	const tries = 100
	var f *os.File
	err := t.do(path, "open", func() error {
		for range tries {
			var id [tmpRandom]byte
			rand.Read(id[:])
			name := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+tmpTag+hex.EncodeToString(id[:]))
			var err error
			f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err != nil {
				return err
			}
			err = tryLock(f)
			now, statErr := os.Lstat(name)
			mine, _ := f.Stat()
			if !errors.Is(err, syscall.EWOULDBLOCK) && statErr == nil && os.SameFile(now, mine) {
				return nil // without flock, sweep doesn't remove files either
			}
			f.Close()
		}
		return errors.New("temporary file taken away each time")
	})
	return f, err
}

// sweep removes temporary files of target that a killed process left: those that
// aren't locked. It ignores errors.
func sweep(target string) {
	dir := filepath.Dir(target)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	prefix := "." + filepath.Base(target) + tmpTag
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || len(suffix) != 2*tmpRandom || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if tryLock(f) == nil {
			now, err := os.Lstat(name)
			mine, _ := f.Stat()
			if err == nil && os.SameFile(now, mine) {
				_ = os.Remove(name)
			}
		}
		f.Close()
	}
}

// tryLock takes an exclusive lock without waiting.
func tryLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
