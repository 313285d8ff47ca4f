package ask

import (
	"errors"
	"os"
	"testing"

	"vigil/internal/ipc"
)

// Those who have gone make room, and aren't asked.
func TestStandbysAreBounded(t *testing.T) {
	var w Standbys
	add := func() (*os.File, error) {
		ours, theirs, err := ipc.Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		f, err := ours.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		t.Cleanup(func() { theirs.Close() })
		return theirs, w.Add(os.Getpid(), f)
	}
	if _, err := w.newest(); !errors.Is(err, errNoStandby) {
		t.Errorf("got %v", err)
	}
	var all []*os.File
	for range maxStandbys {
		theirs, err := add()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, theirs)
	}
	if _, err := add(); !errors.Is(err, errManyStandbys) {
		t.Errorf("one more: %v", err)
	}
	if s, err := w.newest(); err != nil || s.number != maxStandbys || s.witnesses()[0] != (Witness{Standby: maxStandbys}) {
		t.Errorf("the newest is %+v, %v", s, err)
	}
	all[maxStandbys-1].Close()
	if s, err := w.newest(); err != nil || s.number != maxStandbys-1 || w.Len() != maxStandbys-1 {
		t.Errorf("the newest is %+v, %v, of %d", s, err, w.Len())
	}
	if _, err := add(); err != nil {
		t.Errorf("one has gone: %v", err)
	}
}

func TestOnlySocketsStandBy(t *testing.T) {
	var w Standbys
	r, p, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	defer r.Close()
	if err := w.Add(os.Getpid(), r); err == nil || w.Len() != 0 {
		t.Errorf("a pipe stands by: %v", err)
	}
}
