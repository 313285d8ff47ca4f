package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/paths"
	"vigil/internal/state"
)

func open(t *testing.T) (*state.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state", "vigil")
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	vaultA = id.Vault{1}
	vaultB = id.Vault{2}
)

func TestNames(t *testing.T) {
	s, _ := open(t)
	if n, err := s.Names(); err != nil || len(n) != 0 {
		t.Fatalf("at first: %v, %v", n, err)
	}
	ok(t, s.Bind(t.Context(), "work", vaultA))
	ok(t, s.Bind(t.Context(), "home", vaultB))
	ok(t, s.Bind(t.Context(), "work", vaultA))
	err := s.Bind(t.Context(), "work", vaultB)
	if !errors.Is(err, state.ErrBound) || !strings.Contains(err.Error(), vaultA.String()) {
		t.Errorf("another vault under the name: %v", err)
	}
	if err := s.Bind(t.Context(), "../x", vaultA); !errors.Is(err, paths.ErrName) {
		t.Errorf("no name: %v", err)
	}
	want := map[string]id.Vault{"work": vaultA, "home": vaultB}
	if n, err := s.Names(); err != nil || !reflect.DeepEqual(n, want) {
		t.Errorf("got %v, %v", n, err)
	}
	ok(t, s.Unbind(t.Context(), "work"))
	ok(t, s.Bind(t.Context(), "work", vaultB))
}

func TestNamesByManyAtOnce(t *testing.T) {
	s, dir := open(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			other, err := state.Open(dir)
			if err == nil {
				err = other.Bind(t.Context(), fmt.Sprintf("v%d", i), id.Vault{byte(i)})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, err := s.Names(); err != nil || len(n) != 16 {
		t.Errorf("%d names, %v", len(n), err)
	}
}

func pins(seq uint64, members byte, epoch uint64, deks byte) keyring.Pins {
	return keyring.Pins{
		Members: keyring.MembersPin{Seq: seq, Hash: id.Hash{members}},
		Deks:    keyring.DeksPin{Epoch: epoch, KEK: 1, SHA256: id.Hash{deks}},
	}
}

func TestPinsOnlyGoForward(t *testing.T) {
	now := pins(5, 5, 40, 40)
	for _, tc := range []struct {
		name string
		next keyring.Pins
		err  error
	}{
		{"the same", now, nil},
		{"newer deks", pins(5, 5, 41, 41), nil},
		{"newer members", pins(6, 6, 40, 40), nil},
		{"both newer", pins(9, 9, 99, 99), nil},
		{"older deks", pins(5, 5, 39, 39), state.ErrBackwards},
		{"older members", pins(4, 4, 41, 41), state.ErrBackwards},
		{"forked members", pins(5, 6, 41, 41), state.ErrBackwards},
		{"forked deks", pins(6, 6, 40, 41), state.ErrBackwards},
		{"none", keyring.Pins{}, state.ErrBackwards},
		{"members alone", keyring.Pins{Members: pins(6, 6, 0, 0).Members}, state.ErrBackwards},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := open(t)
			v := s.Vault(vaultA)
			if p, err := v.Pins(); err != nil || p != (keyring.Pins{}) {
				t.Fatalf("at first: %v, %v", p, err)
			}
			ok(t, v.Advance(t.Context(), now))
			err := v.Advance(t.Context(), tc.next)
			want := tc.next
			if tc.err != nil {
				want = now
			}
			if got, rerr := v.Pins(); !errors.Is(err, tc.err) || rerr != nil || got != want {
				t.Errorf("%v; kept %v, %v", err, got, rerr)
			}
			ok(t, v.Reset(t.Context(), pins(1, 1, 1, 1)))
			if got, err := v.Pins(); err != nil || got != pins(1, 1, 1, 1) {
				t.Errorf("after a reset: %v, %v", got, err)
			}
		})
	}
	t.Run("members first, deks later", func(t *testing.T) {
		s, _ := open(t)
		v := s.Vault(vaultA)
		ok(t, v.Advance(t.Context(), keyring.Pins{Members: now.Members}))
		ok(t, v.Advance(t.Context(), now))
	})
}

func TestWhatIsKeptComesBack(t *testing.T) {
	s, dir := open(t)
	v := s.Vault(vaultA)
	ctx := t.Context()
	_, _, err1 := v.Keyring()
	_, err2 := v.PublicKeys()
	_, err3 := v.Blob("offline")
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, state.ErrNone) {
			t.Errorf("at first: %v", err)
		}
	}
	k := backend.Keyring{
		Members: []byte("a\nb\n"), Deks: bytes.Repeat([]byte{0xff}, 1000), MembersVersion: `"e\"1"`, DeksVersion: "e2",
	}
	fetched := time.Unix(1_800_000_000, 5).UTC()
	keys := []state.PublicKey{
		{Item: id.Item{1}, Revision: id.Revision{2}, Name: "z", Comment: "ü\n\u2028", Public: []byte{0, 1}, Certificate: []byte{2}},
		{Item: id.Item{3}, Revision: id.Revision{4}, Name: "a", Public: []byte{5}},
	}
	ok(t, v.SetKeyring(ctx, k, fetched))
	ok(t, v.SetPublicKeys(ctx, keys))
	ok(t, v.SetBlob(ctx, "offline", []byte("sealed")))

	again, err := state.Open(dir)
	ok(t, err)
	v = again.Vault(vaultA)
	if got, at, err := v.Keyring(); err != nil || !reflect.DeepEqual(got, k) || !at.Equal(fetched) {
		t.Errorf("keyring %v, %v", got, err)
	}
	if got, err := v.PublicKeys(); err != nil || !reflect.DeepEqual(got, keys) {
		t.Errorf("public keys %v, %v", got, err)
	}
	if got, err := v.Blob("offline"); err != nil || string(got) != "sealed" {
		t.Errorf("blob %q, %v", got, err)
	}
	if _, _, err := again.Vault(vaultB).Keyring(); !errors.Is(err, state.ErrNone) {
		t.Errorf("another vault's keyring: %v", err)
	}
	for range 2 {
		ok(t, v.DropPublicKeys(ctx))
		ok(t, v.DropBlob(ctx, "offline"))
	}
	if _, err := v.Blob("offline"); !errors.Is(err, state.ErrNone) {
		t.Errorf("a dropped blob: %v", err)
	}
	for _, name := range []string{"", "../x", "A", "a.b", strings.Repeat("x", 33)} {
		if err := v.SetBlob(ctx, name, nil); err == nil {
			t.Errorf("blob %q was kept", name)
		}
	}
}

func TestNothingIsForOthers(t *testing.T) {
	s, dir := open(t)
	v := s.Vault(vaultA)
	ok(t, s.Bind(t.Context(), "work", vaultA))
	ok(t, v.Advance(t.Context(), pins(1, 1, 1, 1)))
	ok(t, v.SetPublicKeys(t.Context(), nil))
	ok(t, v.AddPending(t.Context(), revision(1)))
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, ierr := d.Info()
		if err != nil || ierr != nil {
			return errors.Join(err, ierr)
		}
		n++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || n < 7 {
		t.Errorf("%d files, %v", n, err)
	}
}

func revision(n byte) state.Pending {
	return state.Pending{
		Item: id.Item{n}, Revision: id.Revision{n}, Parents: []id.Revision{{n, 1}}, Tightens: true, Wrapped: []byte{n},
		Line: []byte("line"), Added: time.Unix(int64(n), 0).UTC(),
	}
}

func TestPending(t *testing.T) {
	s, dir := open(t)
	v := s.Vault(vaultA)
	ctx := t.Context()
	if list, err := v.Pending(); err != nil || list != nil {
		t.Fatalf("at first: %v, %v", list, err)
	}
	removal := state.Pending{Item: id.Item{1}, Remove: true, Consent: []byte("consent"), Added: time.Unix(2, 0).UTC()}
	ok(t, v.AddPending(ctx, revision(3)))
	ok(t, v.AddPending(ctx, revision(1)))
	ok(t, v.AddPending(ctx, removal))

	again, err := state.Open(dir)
	ok(t, err)
	v = again.Vault(vaultA)
	want := []state.Pending{revision(1), removal, revision(3)}
	if list, err := v.Pending(); err != nil || !reflect.DeepEqual(list, want) {
		t.Fatalf("after a restart: %+v, %v", list, err)
	}
	met := revision(3)
	met.DeletedElsewhere = true
	ok(t, v.AddPending(ctx, met))
	if list, err := v.Pending(); err != nil || len(list) != 3 || !list[2].DeletedElsewhere {
		t.Errorf("marked: %+v, %v", list, err)
	}
	if err := v.Forget(ctx); err == nil {
		t.Error("a vault with pending changes was forgotten")
	}
	for range 2 {
		for _, p := range want {
			ok(t, v.DropPending(ctx, p))
		}
	}
	if list, err := v.Pending(); err != nil || len(list) != 0 {
		t.Errorf("dropped: %v, %v", list, err)
	}
	ok(t, v.Forget(ctx))
	if _, err := os.Stat(filepath.Join(dir, "vaults", vaultA.String())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("forgotten: %v", err)
	}
}

func TestPendingRefusesWhatCantBePushed(t *testing.T) {
	s, _ := open(t)
	v := s.Vault(vaultA)
	for name, spoil := range map[string]func(*state.Pending){
		"no item":                 func(p *state.Pending) { p.Item = id.Item{} },
		"no revision":             func(p *state.Pending) { p.Revision = id.Revision{} },
		"no DEK":                  func(p *state.Pending) { p.Wrapped = nil },
		"no line":                 func(p *state.Pending) { p.Line = nil },
		"a removal of a revision": func(p *state.Pending) { p.Remove = true },
	} {
		p := revision(1)
		spoil(&p)
		if err := v.AddPending(t.Context(), p); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
}

// A damaged file is reported and left alone, and doesn't affect others.
func TestDamage(t *testing.T) {
	damages := map[string]func(data []byte) []byte{
		"empty":              func([]byte) []byte { return nil },
		"cut off":            func(b []byte) []byte { return b[:len(b)-2] },
		"one line":           func(b []byte) []byte { return b[:bytes.IndexByte(b, '\n')+1] },
		"a line more":        func(b []byte) []byte { return append(b, "{}\n"...) },
		"zeros":              func(b []byte) []byte { return make([]byte, len(b)) },
		"a flipped bit":      func(b []byte) []byte { b[len(b)-4] ^= 1; return b },
		"another kind":       func(b []byte) []byte { return bytes.Replace(b, []byte(`"kind":"`), []byte(`"kind":"x`), 1) },
		"a newer version":    func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":2`), 1) },
		"an unknown member":  func(b []byte) []byte { return bytes.Replace(b, []byte(`{"vigil"`), []byte(`{"x":1,"vigil"`), 1) },
		"something entirely": func([]byte) []byte { return []byte("<html>\n</html>\n") },
	}
	files := map[string]struct {
		read   func(s *state.Store) error
		change func(s *state.Store) error
	}{
		"names.json": {
			func(s *state.Store) error { _, err := s.Names(); return err },
			func(s *state.Store) error { return s.Bind(t.Context(), "new", vaultB) },
		},
		"pins.json": {
			func(s *state.Store) error { _, err := s.Vault(vaultA).Pins(); return err },
			func(s *state.Store) error { return s.Vault(vaultA).Advance(t.Context(), pins(9, 9, 9, 9)) },
		},
		"keyring.json": {
			func(s *state.Store) error { _, _, err := s.Vault(vaultA).Keyring(); return err }, nil,
		},
		"public.json": {
			func(s *state.Store) error { _, err := s.Vault(vaultA).PublicKeys(); return err }, nil,
		},
		"revision-AQAAAAAAAAAAAAAAAAAAAA.json": {
			func(s *state.Store) error {
				list, err := s.Vault(vaultA).Pending()
				if len(list) != 1 || list[0].Item != (id.Item{2}) {
					t.Errorf("the other pending change: %v", list)
				}
				return err
			},
			func(s *state.Store) error { return s.Vault(vaultA).Forget(t.Context()) },
		},
	}
	for what, damage := range damages {
		for name, file := range files {
			t.Run(what+" "+name, func(t *testing.T) {
				s, dir := open(t)
				v := s.Vault(vaultA)
				ok(t, s.Bind(t.Context(), "work", vaultA))
				ok(t, v.Advance(t.Context(), pins(1, 1, 1, 1)))
				ok(t, v.SetKeyring(t.Context(), backend.Keyring{Members: []byte("m")}, time.Now()))
				ok(t, v.SetPublicKeys(t.Context(), []state.PublicKey{{Name: "n"}}))
				ok(t, v.AddPending(t.Context(), revision(1)))
				ok(t, v.AddPending(t.Context(), revision(2)))
				var path string
				filepath.WalkDir(dir, func(p string, _ fs.DirEntry, _ error) error {
					if filepath.Base(p) == name {
						path = p
					}
					return nil
				})
				data, err := os.ReadFile(path)
				ok(t, err)
				bad := damage(data)
				ok(t, os.WriteFile(path, bad, 0o600))

				err = file.read(s)
				var corrupt *state.CorruptError
				if !errors.As(err, &corrupt) || corrupt.File != path || !strings.Contains(err.Error(), "nothing was changed") {
					t.Fatalf("got %v", err)
				}
				if got := errors.Is(err, state.ErrVersion); got != (what == "a newer version") {
					t.Errorf("ErrVersion is %v of %v", got, err)
				}
				if file.change != nil {
					if err := file.change(s); !errors.As(err, &corrupt) {
						t.Errorf("a change: %v", err)
					}
				}
				if now, _ := os.ReadFile(path); !bytes.Equal(now, bad) {
					t.Error("the damaged file was overwritten")
				}
			})
		}
	}
}

func FuzzDamage(f *testing.F) {
	dir := f.TempDir()
	s, err := state.Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	v := s.Vault(vaultA)
	if err := v.Advance(f.Context(), pins(1, 1, 1, 1)); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, "vaults", vaultA.String(), "pins.json")
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{\"vigil\":\"state\",\"kind\":\"pins\",\"version\":1,\"sha256\":\"\"}\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := v.Pins()
		var corrupt *state.CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			t.Errorf("got %v", err)
		}
		if bytes.Equal(data, good) && (err != nil || p != pins(1, 1, 1, 1)) {
			t.Errorf("good pins: %v, %v", p, err)
		}
	})
}
