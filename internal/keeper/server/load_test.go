package server

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// TestADamagedItemIsNamedAndTheOthersLoad.
func TestADamagedItemIsNamedAndTheOthersLoad(t *testing.T) {
	w := newWorld(t, ed25519Key(t), ed25519Key(t), ed25519Key(t))
	lines := ringtest.Lines(w.Objects().File)
	// The second item's metadata and the third one's private key are damaged.
	bad := func(i int, field func(*vaultfile.Revision) []byte) (id.Item, []byte) {
		r := must(vaultfile.ParseLine(lines[i]))(t)
		field(&r)[70] ^= 1
		return r.Item, r.Line()
	}
	noMeta, line2 := bad(2, func(r *vaultfile.Revision) []byte { return r.Meta })
	noKey, line3 := bad(3, func(r *vaultfile.Revision) []byte { return r.Secret })
	o := w.Objects()
	o.File = slices.Concat(lines[0], lines[1], line2, line3, []byte("not a line\n"))
	c := unlocked(t, w, w.Owner)
	l, err := loadObjects(t, c, keyring.Pins{}, o)
	if err != nil || len(l.Items) != 3 {
		t.Fatalf("%d items, %v", len(l.Items), err)
	}
	for _, it := range l.Items {
		switch it.Item {
		case noMeta, noKey:
			if !strings.Contains(it.Problem, it.Item.String()) || it.Key != 0 {
				t.Fatalf("key %d, problem %q", it.Key, it.Problem)
			}
		default:
			if err := sign(t, c, it.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The good file repairs both.
	l = load(t, c, w)
	for i, s := range w.keys {
		signsWith(t, c, number(t, l, w.items[i].Line.Revision), s)
	}
}

// TestAnItemThatIsSomethingElseInside: the seal is valid, but its content isn't one
// private key.
func TestAnItemThatIsSomethingElseInside(t *testing.T) {
	s := ed25519Key(t)
	for name, encoding := range map[string][]byte{
		"nothing":        nil,
		"no key":         []byte("private key"),
		"bytes after it": append(bytes.Clone(s.encoding), 0),
		"cut":            s.encoding[:len(s.encoding)-1],
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sample{name: "work", public: s.public, encoding: encoding}, s)
			c, l := opened(t, w)
			before, err := c.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := sign(t, c, number(t, l, w.items[0].Line.Revision)); err == nil || errors.Is(err, keeper.ErrGone) {
					t.Fatalf("got %v", err)
				}
			}
			if after, err := c.Stats(t.Context()); err != nil || after.Used != before.Used {
				t.Fatalf("%d bytes of guarded memory in use, %d before; %v", after.Used, before.Used, err)
			}
			signsWith(t, c, number(t, l, w.items[1].Line.Revision), s)
		})
	}
}

// TestLoadWhileKeysOpen: first uses of keys concurrent with reloads that replace them
// don't deadlock.
func TestLoadWhileKeysOpen(t *testing.T) {
	keys := make([]sample, 40)
	for i := range keys {
		keys[i] = ed25519Key(t)
	}
	w := newWorld(t, keys...)
	c, l := opened(t, w)
	all, half := w.Objects(), w.Objects()
	half.File = bytes.Join(ringtest.Lines(all.File)[:1+len(keys)/2], nil)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	numbers := make([]uint64, 0, len(keys))
	take := func(l *keeper.Loaded) {
		mu.Lock()
		defer mu.Unlock()
		numbers = numbers[:0]
		for _, it := range l.Items {
			numbers = append(numbers, it.Key)
		}
	}
	take(l)
	for range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				n := numbers[i%len(numbers)]
				mu.Unlock()
				if _, err := c.Sign(context.Background(), n, []byte("x"), 0, nil); err != nil && !errors.Is(err, keeper.ErrNoKey) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		o := all
		if i%2 == 0 {
			o = half
		}
		l, err := loadObjects(t, c, keyring.Pins{}, o)
		if err != nil {
			t.Fatal(err)
		}
		take(l)
	}
	close(stop)
	wg.Wait()
}

// TestBeforeAKeyringIsLoaded, requests that need one are refused, and the keeper
// keeps serving.
func TestBeforeAKeyringIsLoaded(t *testing.T) {
	w := newWorld(t, ed25519Key(t))
	c := unlocked(t, w, w.Owner)
	if err := c.GiveFile(t.Context(), w.Objects().File); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"verify": func() error { _, err := c.Verify(t.Context(), func(int, int) {}); return err },
		"seal line": func() error {
			_, err := c.SealLine(t.Context(), keeper.Repeat(w.items[0].Line.Line(), nil))
			return err
		},
		"collect":  func() error { _, err := c.Collect(t.Context(), time.Now()); return err },
		"deks":     func() error { _, _, err := c.Deks(t.Context(), keyring.Update{}, time.Now()); return err },
		"rotation": func() error { _, err := c.Rotation(t.Context(), keeper.StepNewKEK); return err },
		"rewrap":   func() error { _, err := c.Rotation(t.Context(), keeper.StepRewrap); return err },
		"retire":   func() error { _, err := c.Rotation(t.Context(), keeper.StepRetire); return err },
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, call(), keeper.ErrRefused) })
	}
	signsWith(t, c, number(t, load(t, c, w), w.items[0].Line.Revision), w.keys[0])
}

// TestADEKGoesOnlyWhenItsSuccessorIsWhole: a DEK superseded long ago is dropped only
// if this device's file has a line of its successor that opens.
func TestADEKGoesOnlyWhenItsSuccessorIsWhole(t *testing.T) {
	s := ed25519Key(t)
	w := newWorld(t, s)
	first := w.items[0].Line
	next := w.Add(first.Item, "edited", s.public, s.encoding, first.Revision)
	c, _ := opened(t, w)
	late := time.Unix(ringtest.Now+keyring.KeepSuperseded+1, 0)
	file := func(change func(*vaultfile.Revision)) []byte {
		r := next.Line
		r.Meta, r.Secret = bytes.Clone(r.Meta), bytes.Clone(r.Secret)
		change(&r)
		return slices.Concat(vaultfile.Header(w.Vault()), first.Line(), r.Line())
	}
	good := file(func(*vaultfile.Revision) {})
	for _, tt := range []struct {
		name string
		file []byte
		at   time.Time
		goes bool
	}{
		{"too early", good, late.Add(-time.Hour), false},
		{"successor missing", slices.Concat(vaultfile.Header(w.Vault()), first.Line()), late, false},
		{"its metadata is damaged", file(func(r *vaultfile.Revision) { r.Meta[100] ^= 1 }), late, false},
		{"its private key is damaged", file(func(r *vaultfile.Revision) { r.Secret[100] ^= 1 }), late, false},
		{"it is another item's", file(func(r *vaultfile.Revision) { r.Item = id.NewItem() }), late, false},
		{"whole", good, late, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := c.GiveFile(t.Context(), tt.file); err != nil {
				t.Fatal(err)
			}
			object, err := c.Collect(t.Context(), tt.at)
			if err != nil || (object != nil) != tt.goes {
				t.Fatalf("a new manifest of %d bytes, %v", len(object), err)
			}
			if !tt.goes {
				return
			}
			deks := must(keyring.ParseDeks(object, w.Vault()))(t)
			if deks.Has(first.Item, first.Revision) || !deks.Has(first.Item, next.Line.Revision) {
				t.Fatal("a DEK other than the superseded one was dropped")
			}
		})
	}
}
