// Package backendtest tests keyring stores against the contract of [backend.Store].
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"vigil/internal/backend"
	"vigil/internal/fault"
)

// racers is how many writers race for one version.
const racers = 16

// Run runs the suite. open returns a store without objects; it is called once per
// subtest. again, which may be nil, opens the store last returned by open once more,
// as another process would.
func Run(t *testing.T, open func(t *testing.T) backend.Store, again func(t *testing.T) backend.Store) {
	t.Helper()
	for _, tc := range []struct {
		name string
		run  func(*testing.T, backend.Store)
	}{
		{"get of nothing", getOfNothing},
		{"put, get, put", putGetPut},
		{"get of what the caller has", getOfWhatTheCallerHas},
		{"create over an object", createOverAnObject},
		{"replace of nothing", replaceOfNothing},
		{"replace of an old version", replaceOfAnOldVersion},
		{"objects are apart", objectsAreApart},
		{"bytes come back unchanged", bytesComeBackUnchanged},
		{"limits", limits},
		{"unknown object", unknownObject},
		{"cancelled", cancelled},
		{"retention", retention},
		{"probe", probe},
		{"race to create", raceToCreate},
		{"race to replace", raceToReplace},
		{"every writer gets through", everyWriterGetsThrough},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, open(t)) })
	}
	if again == nil {
		return
	}
	t.Run("another process sees it", func(t *testing.T) {
		version := put(t, open(t), backend.Members, "one", "")
		second := again(t)
		data, v, err := second.Get(t.Context(), backend.Members, "")
		if err != nil || string(data) != "one" || v != version {
			t.Fatalf("Get = %q, %q, %v; want %q, %q", data, v, err, "one", version)
		}
		put(t, second, backend.Members, "two", version)
	})
}

func put(t *testing.T, s backend.Store, o backend.Object, data string, expect backend.Version) backend.Version {
	t.Helper()
	v, err := s.Put(t.Context(), o, []byte(data), expect)
	if err != nil {
		t.Fatalf("Put(%s, %.20q, %q): %v", o, data, expect, err)
	}
	if v == "" {
		t.Fatalf("Put(%s) returned the zero version", o)
	}
	return v
}

func wantGet(t *testing.T, s backend.Store, o backend.Object, want string, version backend.Version) {
	t.Helper()
	data, v, err := s.Get(t.Context(), o, "")
	if err != nil || string(data) != want || v != version {
		t.Fatalf("Get(%s) = %.40q, %q, %v; want %.40q, %q", o, data, v, err, want, version)
	}
}

// wantErr checks that err is of kind, and a *fault.Error that names the operation and
// object.
func wantErr(t *testing.T, err, kind error, object backend.Object) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want %v", err, kind)
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is a %T, want a *fault.Error", err, err)
	}
	if op, found := strings.CutSuffix(e.Op, string(object)); !found || op == "" {
		t.Errorf("error is of operation %q, want one on %q", e.Op, object)
	}
}

func getOfNothing(t *testing.T, s backend.Store) {
	for _, o := range []backend.Object{backend.Members, backend.Deks} {
		_, _, err := s.Get(t.Context(), o, "")
		wantErr(t, err, fault.ErrNotFound, o)
		_, _, err = s.Get(t.Context(), o, "some-version")
		wantErr(t, err, fault.ErrNotFound, o)
	}
}

func putGetPut(t *testing.T, s backend.Store) {
	v1 := put(t, s, backend.Deks, "one", "")
	wantGet(t, s, backend.Deks, "one", v1)
	v2 := put(t, s, backend.Deks, "two", v1)
	if v1 == v2 {
		t.Fatalf("another content has the same version %q", v1)
	}
	wantGet(t, s, backend.Deks, "two", v2)
	put(t, s, backend.Deks, "three", v2)
}

func getOfWhatTheCallerHas(t *testing.T, s backend.Store) {
	v1 := put(t, s, backend.Members, "one", "")
	data, _, err := s.Get(t.Context(), backend.Members, v1)
	wantErr(t, err, fault.ErrNotModified, backend.Members)
	if data != nil {
		t.Errorf("Get returned data with ErrNotModified")
	}
	v2 := put(t, s, backend.Members, "two", v1)
	data, v, err := s.Get(t.Context(), backend.Members, v1)
	if err != nil || string(data) != "two" || v != v2 {
		t.Fatalf("Get with an old version = %q, %q, %v; want the new content", data, v, err)
	}
}

func createOverAnObject(t *testing.T, s backend.Store) {
	v := put(t, s, backend.Members, "one", "")
	_, err := s.Put(t.Context(), backend.Members, []byte("other"), "")
	wantErr(t, err, fault.ErrConflict, backend.Members)
	wantGet(t, s, backend.Members, "one", v)
}

func replaceOfNothing(t *testing.T, s backend.Store) {
	v := put(t, s, backend.Members, "one", "")
	_, err := s.Put(t.Context(), backend.Deks, []byte("one"), v)
	wantErr(t, err, fault.ErrConflict, backend.Deks)
	_, _, err = s.Get(t.Context(), backend.Deks, "")
	wantErr(t, err, fault.ErrNotFound, backend.Deks)
}

func replaceOfAnOldVersion(t *testing.T, s backend.Store) {
	v1 := put(t, s, backend.Deks, "one", "")
	v2 := put(t, s, backend.Deks, "two", v1)
	_, err := s.Put(t.Context(), backend.Deks, []byte("three"), v1)
	wantErr(t, err, fault.ErrConflict, backend.Deks)
	wantGet(t, s, backend.Deks, "two", v2)
}

func objectsAreApart(t *testing.T, s backend.Store) {
	m := put(t, s, backend.Members, "members", "")
	d := put(t, s, backend.Deks, "deks", "")
	wantGet(t, s, backend.Members, "members", m)
	wantGet(t, s, backend.Deks, "deks", d)
	put(t, s, backend.Deks, "deks 2", d)
	wantGet(t, s, backend.Members, "members", m)
}

func bytesComeBackUnchanged(t *testing.T, s backend.Store) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var v backend.Version
	for _, want := range [][]byte{all, {0}, []byte("\r\n\r\n"), bytes.Repeat(all, 1<<12)} {
		v = put(t, s, backend.Deks, string(want), v)
		wantGet(t, s, backend.Deks, string(want), v)
	}
}

func limits(t *testing.T, s backend.Store) {
	_, err := s.Put(t.Context(), backend.Deks, make([]byte, backend.MaxObject+1), "")
	wantErr(t, err, fault.ErrTooLarge, backend.Deks)
	if _, err := s.Put(t.Context(), backend.Deks, nil, ""); err == nil {
		t.Error("an empty object was stored")
	}
	_, _, err = s.Get(t.Context(), backend.Deks, "")
	wantErr(t, err, fault.ErrNotFound, backend.Deks)
}

func unknownObject(t *testing.T, s backend.Store) {
	for _, o := range []backend.Object{"", "lock", "../deks", "deks/x"} {
		if _, err := s.Put(t.Context(), o, []byte("x"), ""); err == nil {
			t.Errorf("Put(%q) stored it", o)
		}
		if _, _, err := s.Get(t.Context(), o, ""); err == nil || errors.Is(err, fault.ErrNotFound) {
			t.Errorf("Get(%q) = %v, want a refusal", o, err)
		}
	}
}

func cancelled(t *testing.T, s backend.Store) {
	v := put(t, s, backend.Deks, "one", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.Get(ctx, backend.Deks, "")
	wantErr(t, err, fault.ErrUnreachable, backend.Deks)
	_, err = s.Put(ctx, backend.Deks, []byte("two"), v)
	wantErr(t, err, fault.ErrUnreachable, backend.Deks)
	wantGet(t, s, backend.Deks, "one", v)
}

func retention(t *testing.T, s backend.Store) {
	if _, err := s.Retention(t.Context()); err != nil {
		t.Errorf("Retention: %v", err)
	}
}

func probe(t *testing.T, s backend.Store) {
	for range 2 {
		if err := s.Probe(t.Context()); err != nil {
			t.Fatalf("Probe: %v", err)
		}
	}
	for _, o := range []backend.Object{backend.Members, backend.Deks} {
		_, _, err := s.Get(t.Context(), o, "")
		wantErr(t, err, fault.ErrNotFound, o)
	}
}

// race makes writers compete for one version, and returns the winner's number and
// version. All others must have lost with ErrConflict.
func race(t *testing.T, s backend.Store, expect backend.Version) (winner int, version backend.Version) {
	t.Helper()
	versions, errs := make([]backend.Version, racers), make([]error, racers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			versions[i], errs[i] = s.Put(t.Context(), backend.Deks, fmt.Appendf(nil, "writer %d", i), expect)
		})
	}
	close(start)
	wg.Wait()
	winner = -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("writers %d and %d both won", winner, i)
		case err == nil:
			winner = i
		default:
			wantErr(t, err, fault.ErrConflict, backend.Deks)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	return winner, versions[winner]
}

func raceToCreate(t *testing.T, s backend.Store) {
	winner, version := race(t, s, "")
	wantGet(t, s, backend.Deks, fmt.Sprintf("writer %d", winner), version)
}

func raceToReplace(t *testing.T, s backend.Store) {
	version := put(t, s, backend.Deks, "before", "")
	for range 4 {
		var winner int
		winner, version = race(t, s, version)
		wantGet(t, s, backend.Deks, fmt.Sprintf("writer %d", winner), version)
		version = put(t, s, backend.Deks, "between", version)
	}
}

// everyWriterGetsThrough uses the store as the keyring does: read, merge, write, and
// retry after another writer. No line may get lost.
func everyWriterGetsThrough(t *testing.T, s backend.Store) {
	put(t, s, backend.Deks, "lines:\n", "")
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { errs[i] = appendLine(t.Context(), s, fmt.Sprintf("<%d>\n", i)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	data, _, err := s.Get(t.Context(), backend.Deks, "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range racers {
		if line := fmt.Appendf(nil, "<%d>\n", i); bytes.Count(data, line) != 1 {
			t.Errorf("line %q is in it %d times, want once", line, bytes.Count(data, line))
		}
	}
}

func appendLine(ctx context.Context, s backend.Store, line string) error {
	// Somebody wins every round, so nobody needs more than racers rounds.
	for range racers {
		data, v, err := s.Get(ctx, backend.Deks, "")
		if err != nil {
			return err
		}
		if _, err = s.Put(ctx, backend.Deks, append(data, line...), v); !errors.Is(err, fault.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("line %q lost %d races", line, racers)
}
