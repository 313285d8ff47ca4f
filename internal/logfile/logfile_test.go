package logfile

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(Limit(slog.NewTextHandler(&out, nil)))
		for range 10 * burst {
			log.Info("flood")
			log.With("pid", 1).WithGroup("g").Info("flood")
		}
		log.Error("what matters")
		if got := strings.Count(out.String(), "msg=flood"); got != burst {
			t.Errorf("%d lines were written, want %d", got, burst)
		}
		if !strings.Contains(out.String(), "what matters") {
			t.Error("another line was left out")
		}
		out.Reset()
		time.Sleep(3 * interval)
		for range 5 {
			log.Info("flood")
		}
		want := fmt.Sprintf("left_out=%d", 20*burst-burst)
		if got := out.String(); strings.Count(got, "\n") != 3 || strings.Count(got, want) != 1 {
			t.Errorf("afterwards: want three lines, the first with %s:\n%s", want, got)
		}
	})
}

// open opens a log as vigilctl does.
func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFileIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := open(t, path)
	if _, err := f.WriteString("from before\n"); err != nil {
		t.Fatal(err)
	}
	l, err := New(f, path)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 1000) + "\n")
	for i := range 3*MaxSize/len(line) + 10 {
		if i == 10 { // somebody else has it open: a crash, in the end
			if _, err := f.WriteString("a trace\n"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{path, path + Older} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > MaxSize+100 || info.Size() == 0 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes and mode %v", filepath.Base(name), info.Size(), info.Mode())
		}
		text, err := os.ReadFile(name)
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			t.Errorf("%s has a hole: %v", filepath.Base(name), err)
		}
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 2 {
		t.Errorf("files are %q", names)
	}
}

func TestFileThatCannotBePutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := open(t, path)
	if err := os.MkdirAll(filepath.Join(path+Older, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := New(f, path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := l.Write(bytes.Repeat([]byte("x"), MaxSize/2+1)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) > MaxSize || !bytes.Contains(text, []byte("was lost")) {
		t.Errorf("it has %d bytes: %v", len(text), err)
	}
}

func TestAnotherFileIsNoLog(t *testing.T) {
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "log"))
	open(t, filepath.Join(dir, "other"))
	for _, path := range []string{"other", "missing"} {
		if _, err := New(f, filepath.Join(dir, path)); err == nil {
			t.Errorf("%s is taken for the log", path)
		}
	}
}
