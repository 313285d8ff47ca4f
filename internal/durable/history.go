package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// HistoryDir is the folder beside a file that holds its generations.
	HistoryDir = ".history"
	// KeepNewest is how many generations are kept regardless of age.
	KeepNewest = 10
	// KeepDays is for how many days the newest generation of each day is kept.
	// Days on which nothing was replaced don't count, so a clock that jumps ahead
	// deletes no history.
	KeepDays = 30
)

// stamp is a generation's name after "NAME.": when its content was replaced,
// in UTC. It sorts by time, and has no colon, which some sync tools refuse.
const stamp = "20060102T150405.000000000Z"

// ErrGeneration reports a generation that History doesn't list.
var ErrGeneration = errors.New("no such generation")

// Generation is one earlier content of a file.
type Generation struct {
	Name string    // the file's name in .history/, for ReadGeneration
	Time time.Time // when the content was replaced, UTC
	Size int64     // bytes
}

// History lists the earlier contents of the file at path, newest first. It is not an
// error if there are none.
func History(path string) ([]Generation, error) {
	entries, err := os.ReadDir(historyDir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list history of %q: %w", path, err)
	}
	prefix := filepath.Base(path) + "."
	var list []Generation
	for _, e := range entries {
		at, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		when, err := time.Parse(stamp, at)
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // pruned by another process in the meantime
		}
		list = append(list, Generation{Name: e.Name(), Time: when, Size: info.Size()})
	}
	slices.SortFunc(list, func(a, b Generation) int { return strings.Compare(b.Name, a.Name) })
	return list, nil
}

// ReadGeneration returns the content of the generation with a name from History.
// The error wraps ErrGeneration if there is none with that name.
func ReadGeneration(path, name string) ([]byte, error) {
	list, err := History(path)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(g Generation) bool { return g.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("read history of %q: %w", path, ErrGeneration)
	}
	data, err := ReadFile(filepath.Join(historyDir(path), name), MaxFile)
	if err != nil {
		return nil, fmt.Errorf("read history of %q: %w", path, err)
	}
	return data, nil
}

// historyDir returns the folder beside path as the user names it, not beside the
// target of a link: that may be in a synced folder, where history isn't wanted.
func historyDir(path string) string { return filepath.Join(filepath.Dir(path), HistoryDir) }

// keep links the file at target, which is about to be replaced, into the history of
// path, or copies it if links aren't supported.
func keep(t trace, path, target string) error {
	dir := historyDir(path)
	if err := mkdirAll(t, path, dir, 0o700); err != nil {
		return err
	}
	list, err := History(path)
	if err != nil {
		return &WriteError{Path: path, Step: "history", Err: err}
	}
	now := time.Now().UTC()
	if len(list) > 0 {
		if !now.After(list[0].Time) { // the order of generations doesn't depend on the clock
			now = list[0].Time.Add(1)
		}
		if kept(dir, list[0], target) {
			return nil
		}
	}
	name := filepath.Join(dir, filepath.Base(path)+"."+now.Format(stamp))
	err = t.do(path, "link", func() error { return os.Link(target, name) })
	if linkless(err) {
		err = copyTo(t, path, target, name)
	}
	if err != nil {
		return err
	}
	return t.syncDir(path, dir)
}

// kept reports whether the newest generation already is the file at target, because
// a write was killed between link and rename. It compares a copy by content.
func kept(dir string, newest Generation, target string) bool {
	name := filepath.Join(dir, newest.Name)
	a, err := os.Stat(name)
	if err != nil {
		return false
	}
	b, err := os.Stat(target)
	if err != nil || a.Size() != b.Size() {
		return false
	}
	if os.SameFile(a, b) {
		return true
	}
	x, err := ReadFile(name, MaxFile)
	if err != nil {
		return false
	}
	y, err := ReadFile(target, MaxFile)
	return err == nil && bytes.Equal(x, y)
}

// linkless reports whether err says that the link can't be made, because the target
// is on another file system or on one without links.
func linkless(err error) bool {
	for _, e := range []error{syscall.EXDEV, syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS, syscall.EMLINK} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// copyTo makes a generation as a copy, atomically.
func copyTo(t trace, path, target, name string) error {
	data, err := ReadFile(target, MaxFile)
	if err != nil {
		return &WriteError{Path: path, Step: "read", Err: err}
	}
	tmp, err := writeTemp(t, path, name, data, 0o600)
	if err != nil {
		return err
	}
	defer tmp.Close()
	err = t.do(path, "rename generation", func() error { return os.Rename(tmp.Name(), name) })
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// prune removes expired generations. If that fails, the next write tries again: the
// write itself has succeeded.
func prune(path string) {
	list, err := History(path)
	if err != nil {
		return
	}
	for _, g := range expired(list) {
		_ = os.Remove(filepath.Join(historyDir(path), g.Name))
	}
}

// expired returns the generations to remove from list, which has the newest first:
// all but the KeepNewest newest and the newest of each of the KeepDays latest days.
func expired(list []Generation) []Generation {
	var out []Generation
	days := 0
	var last string
	for i, g := range list {
		day := g.Time.Format(time.DateOnly)
		first := day != last
		if first {
			days++
			last = day
		}
		if i >= KeepNewest && !(first && days <= KeepDays) {
			out = append(out, g)
		}
	}
	return out
}
