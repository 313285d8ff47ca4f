package watch

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vigil/internal/durable"
)

const (
	// maxHashed is the largest file whose content is compared, in bytes. A larger
	// file counts as changed if its times change.
	maxHashed = durable.MaxFile
	// racy is how old a file's times must be before an equal stamp proves
	// equal content: the coarsest clock of a file system (FAT) ticks every 2 s.
	racy = 2 * time.Second
)

// file is the state of a path at one look.
type file struct {
	exists bool
	fail   string // why it can't be read; part of what is compared
	sum    [sha256.Size]byte
	stamp  stamp
	recent bool // the stamp is so recent that a further change may not have altered it
}

// same reports whether f and g are the same to a reader.
func (f file) same(g file) bool {
	return f.exists == g.exists && f.fail == g.fail && f.sum == g.sum
}

// look examines the file and its matching neighbours. It reads content only if the
// stamp doesn't prove that it is unchanged since the last look.
func (w *Watcher) look() map[string]file {
	found := map[string]file{w.path: examine(w.path, w.last[w.path])}
	for _, path := range w.neighbours() {
		found[path] = examine(path, w.last[path])
	}
	return found
}

// moved is the cheap check of a poll: it reports whether stamps differ from the last
// look's.
func (w *Watcher) moved() bool {
	paths := append(w.neighbours(), w.path)
	if len(paths) != len(w.last) {
		return true
	}
	for _, path := range paths {
		last, ok := w.last[path]
		if !ok || last.recent || last.fail != "" {
			return true
		}
		info, err := os.Stat(path)
		if (err == nil) != last.exists || err == nil && stampOf(info) != last.stamp {
			return true
		}
	}
	return false
}

// neighbours lists the files that Match selects.
func (w *Watcher) neighbours() []string {
	var paths []string
	for _, dir := range w.folders {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if path != w.path && e.Type().IsRegular() && w.opts.Match(e.Name()) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// examine returns the state of one file.
func examine(path string, last file) file {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}
	}
	if err != nil {
		return file{exists: true, fail: err.Error()}
	}
	f := file{exists: true, stamp: stampOf(info), recent: time.Since(newest(info)) < racy}
	if last.exists && last.fail == "" && last.stamp == f.stamp && !last.recent {
		f.sum = last.sum
		return f
	}
	if !info.Mode().IsRegular() {
		f.fail = "not a regular file" // reading a pipe would wait
		return f
	}
	if info.Size() > maxHashed {
		f.sum = f.stamp.sum()
		return f
	}
	if f.sum, err = hash(path); err != nil {
		f.fail = err.Error()
	}
	return f
}

// hash returns the SHA-256 of the file at path.
func hash(path string) (sum [sha256.Size]byte, err error) {
	r, err := durable.OpenRegular(path)
	if err != nil {
		return sum, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(r, maxHashed)); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
