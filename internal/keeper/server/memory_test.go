package server

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/wire"
)

// smallLimit has room for the workers' buffers and some tens of keys, in bytes.
const smallLimit = 256 << 10

// TestGuardedMemoryFullOfVaultKeys: the least recently used keys make room, and
// reopen at their next use.
func TestGuardedMemoryFullOfVaultKeys(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the lock limit is per user elsewhere")
	}
	rsa := generate(t, "rsa", 2048)
	keys := make([]sample, 400)
	for i := range keys {
		keys[i] = rsa // the key that needs the most memory; the numbers show which is which
	}
	w := newWorld(t, keys...)
	vault := w.Vault()
	c := startSmall(t, vault, smallLimit)
	if err := handIdentity(t, c, vault, w.Owner); err != nil {
		t.Fatal(err)
	}
	l := load(t, c, w)
	for range 2 { // in the second round, all keys opened first have been evicted
		for _, it := range l.Items {
			if _, err := c.Sign(t.Context(), it.Key, []byte("x"), 2, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := c.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Keys != len(keys) || s.Open == len(keys) || s.Open == 0 || s.Mapped > smallLimit {
		t.Fatalf("%d keys, %d of them open, in %d bytes: nothing was evicted", s.Keys, s.Open, s.Mapped)
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 40 {
				if _, err := c.Sign(t.Context(), l.Items[(worker*50+i)%len(keys)].Key, []byte("x"), 2, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	load(t, c, w)
}

// TestGuardedMemoryFullOfAddedKeys: they can't make room, so the next key is refused,
// until one is removed.
func TestGuardedMemoryFullOfAddedKeys(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the lock limit is per user elsewhere")
	}
	c := startSmall(t, id.Vault{}, smallLimit)
	s := generate(t, "rsa", 2048)
	body := guarded(t, addBody(s, "comment"))
	var added []keeper.Added
	for {
		a, err := c.Add(t.Context(), body, false)
		if errors.Is(err, keeper.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if added = append(added, a); len(added) > 10_000 {
			t.Fatal("there is no limit")
		}
	}
	if len(added) < 10 {
		t.Fatalf("%d keys filled it", len(added))
	}
	// A key too large for a connection's buffer doesn't end the keeper, nor does what
	// follows.
	large := guarded(t, addBody(s, string(bytes.Repeat([]byte("c"), 200<<10))))
	for range 3 {
		_, err := c.Add(t.Context(), large, false)
		wantErr(t, err, keeper.ErrFull)
	}
	for _, a := range added {
		if _, err := c.Sign(t.Context(), a.Key, []byte("x"), 2, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Lock(t.Context(), guarded(t, wire.AppendString(nil, "secret"))); err != nil && !errors.Is(err, keeper.ErrFull) {
		t.Fatal(err)
	} else if err == nil {
		if err := c.Unlock(t.Context(), guarded(t, wire.AppendString(nil, "secret"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RemoveAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range added {
		if _, err := c.Add(t.Context(), body, false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALockLimitTooLow: the keeper reports it before it ends.
func TestALockLimitTooLow(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the lock limit is per user elsewhere")
	}
	_, err := keeper.Start(t.Context(), smallOptions(t, id.Vault{}, 4096))
	wantErr(t, err, keeper.ErrFull)
}
