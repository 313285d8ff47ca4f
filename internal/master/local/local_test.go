package local

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/master"
	"vigil/internal/testing/mastertest"
)

func slab(t *testing.T) *guard.Slab {
	t.Helper()
	s, err := guard.NewSlab(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if used := s.Usage().Used; used != 0 {
			t.Errorf("%d bytes of guarded memory are still in use", used)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newKey(t *testing.T) *Key {
	t.Helper()
	k := New(filepath.Join(t.TempDir(), "device"), slab(t))
	if err := k.Create(); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestConformance(t *testing.T) {
	mastertest.Run(t, func(t *testing.T) mastertest.Keys {
		return mastertest.Keys{
			Key: newKey(t), Other: newKey(t),
			Self:      master.URI{Scheme: master.SchemeLocal},
			Elsewhere: master.URI{Scheme: master.SchemeAWSKMS, KeyID: "alias/vigil"},
		}
	})
}

func TestCreate(t *testing.T) {
	k := newKey(t)
	info, err := os.Stat(k.Path())
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != KeySize {
		t.Errorf("device key: %v, %v; want %d bytes of mode 0600", info, err, KeySize)
	}
	if info, err := os.Stat(k.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("device folder: %v, %v; want mode 0700", info, err)
	}
	if entries, err := os.ReadDir(k.dir); err != nil || len(entries) != 1 {
		t.Errorf("device folder has %d entries, %v; want the key alone", len(entries), err)
	}
	before, err := os.ReadFile(k.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Create(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Create: %v, want %v", err, fs.ErrExist)
	}
	if after, err := os.ReadFile(k.Path()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a second Create changed the device key (%v)", err)
	}
	if other, err := os.ReadFile(newKey(t).Path()); err != nil || bytes.Equal(before, other) {
		t.Errorf("two device keys are the same (%v)", err)
	}
}

func TestOneOfManyCreates(t *testing.T) {
	dir, s := filepath.Join(t.TempDir(), "device"), slab(t)
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = New(dir, s).Create() })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		switch {
		case err == nil:
			made++
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d device keys were made, want 1", made)
	}
	if _, err := New(dir, s).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRefusals: what is wrong with a device key's file is an error that says
// what to do, and never ErrRevoked or ErrDenied, which would cost the user the
// offline share.
func TestRefusals(t *testing.T) {
	do := func(t *testing.T, errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	const restore = "Restore the device key from the backup of this device."
	for name, tc := range map[string]struct {
		spoil func(*testing.T, *Key)
		next  string // PATH is the device key's
	}{
		"missing":          {func(t *testing.T, k *Key) { do(t, os.Remove(k.Path())) }, restore},
		"folder missing":   {func(t *testing.T, k *Key) { do(t, os.RemoveAll(k.dir)) }, restore},
		"empty":            {func(t *testing.T, k *Key) { do(t, os.Truncate(k.Path(), 0)) }, restore},
		"a byte short":     {func(t *testing.T, k *Key) { do(t, os.Truncate(k.Path(), KeySize-1)) }, restore},
		"a byte long":      {func(t *testing.T, k *Key) { do(t, os.Truncate(k.Path(), KeySize+1)) }, restore},
		"group may read":   {func(t *testing.T, k *Key) { do(t, os.Chmod(k.Path(), 0o640)) }, "Make it private: `chmod 600 PATH`."},
		"others may write": {func(t *testing.T, k *Key) { do(t, os.Chmod(k.Path(), 0o602)) }, "Make it private: `chmod 600 PATH`."},
		"a directory":      {func(t *testing.T, k *Key) { do(t, os.Remove(k.Path()), os.Mkdir(k.Path(), 0o700)) }, restore},
		"a FIFO":           {func(t *testing.T, k *Key) { do(t, os.Remove(k.Path()), syscall.Mkfifo(k.Path(), 0o600)) }, restore},
		"a link to the key": {func(t *testing.T, k *Key) {
			do(t, os.Rename(k.Path(), k.Path()+"2"), os.Symlink(k.Path()+"2", k.Path()))
		}, restore},
		"a file in its folder's place": {func(t *testing.T, k *Key) {
			do(t, os.RemoveAll(k.dir), os.WriteFile(k.dir, nil, 0o600))
		}, restore},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKey(t)
			tc.spoil(t, k)
			next := strings.ReplaceAll(tc.next, "PATH", k.Path())
			_, err := k.Check(t.Context())
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != fault.ErrMisconfigured || e.Next != next {
				t.Errorf("Check: %v in %+v; want %v, next %q", err, e, fault.ErrMisconfigured, next)
			}
			if _, err := k.Generate(t.Context(), mastertest.Share(t), mastertest.Alice); !errors.Is(err, fault.ErrMisconfigured) {
				t.Errorf("Generate: %v, want %v", err, fault.ErrMisconfigured)
			}
		})
	}
}

// TestAnotherUsersKey: root reads it, and is told to be its owner.
func TestAnotherUsersKey(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	k := newKey(t)
	if err := os.Chown(k.Path(), 65534, -1); err != nil {
		t.Fatal(err)
	}
	_, err := k.Check(t.Context())
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.ErrMisconfigured || e.Next != "Run as the user who owns the device key." {
		t.Errorf("Check: %v in %+v", err, e)
	}
}

// TestADiskErrorMayPass, so it doesn't count as a mistake of the user's.
func TestADiskErrorMayPass(t *testing.T) {
	k := newKey(t)
	var e *fault.Error
	err := k.failure("check", &fs.PathError{Op: "read", Path: k.Path(), Err: syscall.EIO})
	if want := "Look after the disk of " + k.dir + ", and its permissions."; !errors.As(err, &e) || e.Kind != fault.ErrUnreachable || e.Next != want {
		t.Errorf("%v in %+v, want %v, next %q", err, e, fault.ErrUnreachable, want)
	}
}

// TestSharesThatItCannotUse: one of another device key, and a move to another kind.
func TestSharesThatItCannotUse(t *testing.T) {
	k := newKey(t)
	wrapped, err := newKey(t).Generate(t.Context(), mastertest.Share(t), mastertest.Alice)
	if err != nil {
		t.Fatal(err)
	}
	_, moved := k.Rewrap(t.Context(), wrapped, mastertest.Alice, master.URI{Scheme: master.SchemeAWSKMS, KeyID: "alias/vigil"})
	for next, err := range map[string]error{
		"The share was wrapped by another device key, or is damaged; restore " + k.Path() + " from the backup of this device.": k.Decrypt(t.Context(), mastertest.Share(t), wrapped, mastertest.Alice),
		"Give the identity's passphrase, so that it gets a new share there.":                                                   moved,
	} {
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.ErrMisconfigured || e.Next != next {
			t.Errorf("%v in %+v, want next %q", err, e, next)
		}
	}
}
