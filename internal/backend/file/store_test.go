package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"vigil/internal/backend"
	"vigil/internal/durable"
	"vigil/internal/fault"
	"vigil/internal/testing/backendtest"
)

func TestConformance(t *testing.T) {
	var dir string
	backendtest.Run(t, func(t *testing.T) backend.Store {
		dir = filepath.Join(t.TempDir(), "not yet", "keyring")
		return New(dir)
	}, func(*testing.T) backend.Store { return New(dir) })
}

func mustPut(t *testing.T, s *Store, data string, expect backend.Version) backend.Version {
	t.Helper()
	v, err := s.Put(t.Context(), backend.Deks, []byte(data), expect)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestModes(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "a", "keyring"))
	mustPut(t, s, "two", mustPut(t, s, "one", ""))
	err := filepath.WalkDir(filepath.Dir(s.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPreviousGenerations(t *testing.T) {
	s := New(t.TempDir())
	path := filepath.Join(s.dir, "deks")
	v := mustPut(t, s, "two", mustPut(t, s, "one", ""))

	// The same content again is no new generation.
	if again := mustPut(t, s, "two", v); again != v {
		t.Errorf("the same content got version %q after %q", again, v)
	}
	generations, err := durable.History(path)
	if err != nil || len(generations) != 1 {
		t.Fatalf("history has %v, %v; want one generation", generations, err)
	}
	if old, err := durable.ReadGeneration(path, generations[0].Name); err != nil || string(old) != "one" {
		t.Errorf("generation = %q, %v; want what was replaced", old, err)
	}

	if err := s.DropPrevious(t.Context(), backend.Deks); err != nil {
		t.Fatal(err)
	}
	if generations, err := durable.History(path); err != nil || len(generations) != 0 {
		t.Errorf("history has %v, %v after DropPrevious; want none", generations, err)
	}
	if data, _, err := s.Get(t.Context(), backend.Deks, ""); err != nil || string(data) != "two" {
		t.Errorf("Get after DropPrevious = %q, %v", data, err)
	}
}

func TestDropPreviousOfNothing(t *testing.T) {
	if err := New(filepath.Join(t.TempDir(), "none")).DropPrevious(t.Context(), backend.Deks); err != nil {
		t.Error(err)
	}
	if err := New(t.TempDir()).DropPrevious(t.Context(), backend.Deks); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoRegularFileIsRefused(t *testing.T) {
	s := New(t.TempDir())
	if err := os.Mkdir(filepath.Join(s.dir, "members"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.dir, "deks"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []backend.Object{backend.Members, backend.Deks} {
		if _, _, err := s.Get(t.Context(), o, ""); !errors.Is(err, fault.ErrMisconfigured) {
			t.Errorf("Get(%s) = %v, want %v", o, err, fault.ErrMisconfigured)
		}
		if _, err := s.Put(t.Context(), o, []byte("x"), ""); !errors.Is(err, fault.ErrMisconfigured) {
			t.Errorf("Put(%s) = %v, want %v", o, err, fault.ErrMisconfigured)
		}
	}
}

func TestTooLargeToRead(t *testing.T) {
	s := New(t.TempDir())
	path := filepath.Join(s.dir, "deks")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, backend.MaxObject+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), backend.Deks, ""); !errors.Is(err, fault.ErrTooLarge) {
		t.Errorf("Get = %v, want %v", err, fault.ErrTooLarge)
	}
}

func TestWriterWaitsForTheLock(t *testing.T) {
	s := New(t.TempDir())
	v := mustPut(t, s, "one", "")
	other, err := durable.AcquireLock(t.Context(), filepath.Join(s.dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = s.Put(ctx, backend.Deks, []byte("two"), v)
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.ErrUnreachable ||
		e.Next != "Another process holds the keyring's lock; see which with lsof, and try again." {
		t.Fatalf("Put against a held lock = %v, want %v that says what to do", err, fault.ErrUnreachable)
	}
	if _, _, err := s.Get(t.Context(), backend.Deks, ""); err != nil {
		t.Errorf("a reader was held up by the writers' lock: %v", err)
	}

	done := make(chan error, 1)
	go func() {
		_, err := s.Put(t.Context(), backend.Deks, []byte("two"), v)
		done <- err
	}()
	if err := other.Release(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(lockTimeout):
		t.Error("Put still waits for a lock that is free")
	}
}

func TestFailuresAreSorted(t *testing.T) {
	const full = "Free some space on the disk of the keyring's directory and try again; nothing was changed."
	for name, tc := range map[string]struct {
		err  error
		kind error
		next string
	}{
		"not there":    {&fs.PathError{Err: syscall.ENOENT}, fault.ErrNotFound, ""},
		"no right":     {&fs.PathError{Err: syscall.EACCES}, fault.ErrDenied, "Make the keyring's directory writable for your user."},
		"read-only":    {&fs.PathError{Err: syscall.EROFS}, fault.ErrDenied, fault.NextAfter(syscall.EROFS)},
		"disk full":    {&fs.PathError{Err: syscall.ENOSPC}, fault.ErrUnreachable, full},
		"over quota":   {&fs.PathError{Err: syscall.EDQUOT}, fault.ErrUnreachable, full},
		"broken disk":  {&fs.PathError{Err: syscall.EIO}, fault.ErrUnreachable, fault.NextAfter(syscall.EIO)},
		"a wrong path": {&fs.PathError{Err: syscall.ENOTDIR}, fault.ErrMisconfigured, fault.NextAfter(syscall.ENOTDIR)},
	} {
		var e *fault.Error
		if err := failure("put", backend.Deks, tc.err); !errors.As(err, &e) || e.Kind != tc.kind || e.Next != tc.next {
			t.Errorf("%s: %v, next step %q; want %v, next step %q", name, err, e.Next, tc.kind, tc.next)
		}
	}
}
