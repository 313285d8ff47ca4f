package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	path := file(t)
	for i := range 15 {
		if err := Replace(path, fmt.Appendf(nil, "%d", i), Options{Keep: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := Replace(path, []byte("14"), Options{Keep: true}); err != nil { // nothing new
		t.Fatal(err)
	}
	list, err := History(path)
	if err != nil || len(list) != KeepNewest {
		t.Fatalf("%d generations, %v", len(list), err)
	}
	for i, g := range list {
		want := strconv.Itoa(13 - i)
		if got, err := ReadGeneration(path, g.Name); err != nil || string(got) != want || g.Size != int64(len(want)) {
			t.Errorf("generation %d is %q, %v, want %q", i, got, err, want)
		}
		if i > 0 && !g.Time.Before(list[i-1].Time) {
			t.Errorf("generation %d of %v isn't older than that of %v", i, g.Time, list[i-1].Time)
		}
	}
	for _, name := range []string{"", "../vault.jsonl", "vault.jsonl.x", list[0].Name + "x"} {
		if _, err := ReadGeneration(path, name); !errors.Is(err, ErrGeneration) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if other, err := History(filepath.Join(filepath.Dir(path), "vault")); err != nil || len(other) != 0 {
		t.Errorf("another file's history: %v, %v", other, err)
	}
}

// Where the history can't hold links to the file, it holds copies.
func TestHistoryWithoutLinks(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EXDEV, syscall.EPERM, syscall.ENOTSUP} {
		path := file(t)
		err := replace(func(step string) error {
			if step == "link" {
				return errno
			}
			return nil
		}, path, []byte(newContent), Options{Keep: true})
		if err != nil {
			t.Fatal(err)
		}
		list, err := History(path)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if got, err := ReadGeneration(path, list[0].Name); err != nil || string(got) != oldContent || read(t, path) != newContent {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A clock that was set back doesn't put a new generation behind older ones.
func TestHistoryWithAClockSetBack(t *testing.T) {
	path := file(t)
	future := time.Now().UTC().Add(100 * 24 * time.Hour).Format(stamp)
	if err := os.Mkdir(filepath.Join(filepath.Dir(path), HistoryDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), HistoryDir, "vault.jsonl."+future), []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte(newContent), Options{Keep: true}); err != nil {
		t.Fatal(err)
	}
	list, err := History(path)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if got, _ := ReadGeneration(path, list[0].Name); string(got) != oldContent {
		t.Errorf("the newest is %q", got)
	}
}

func TestWhatExpires(t *testing.T) {
	at := func(day, hour int) Generation {
		when := time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC).AddDate(0, 0, day)
		return Generation{Name: when.Format("01-02T15"), Time: when}
	}
	var list []Generation
	for day := 50; day > 0; day-- {
		for hour := 3; hour > 0; hour-- {
			list = append(list, at(day, hour))
		}
	}
	gone := map[string]bool{}
	for _, g := range expired(list) {
		gone[g.Name] = true
	}
	for i, g := range list {
		newestOfDay := g.Time.Hour() == 3
		want := i >= KeepNewest && (!newestOfDay || i >= KeepDays*3)
		if gone[g.Name] != want {
			t.Errorf("%s: expired %v, want %v", g.Name, gone[g.Name], want)
		}
	}
	if left := len(list) - len(gone); left != KeepDays+6 { // 6 of the 10 newest are no day's newest
		t.Errorf("%d are left", left)
	}
}
