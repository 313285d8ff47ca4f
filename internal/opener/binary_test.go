package opener_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/id"
	"vigil/internal/opener"
)

// nogroup is the first group of the account nobody.
const nogroup = 65534

// TestBinariesThatAreNotStarted: an opener sees passphrases, so it must be the
// installed binary.
func TestBinariesThatAreNotStarted(t *testing.T) {
	mode := func(path string, m os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
	}
	// A group that others are in: with one of its own, a user is alone.
	shared := func(path string) string {
		if err := os.Chown(path, -1, nogroup); err != nil {
			return "" // needs root
		}
		return path
	}
	for _, tt := range []struct {
		name  string
		spoil func(path string) string
		want  string
		next  string
	}{
		{"named by a relative path", func(string) string { return "vigil-opener" }, "absolute", "make build"},
		{"missing", func(path string) string { return path + "x" }, "there is no vigil-openerx", "make build"},
		{"its group may write to it", func(path string) string { mode(path, 0o720); return shared(path) }, "another user", "chmod go-w "},
		{"everybody may write to it", func(path string) string { mode(path, 0o702); return path }, "another user", "chmod go-w "},
		{"its folder may be written by its group", func(path string) string {
			mode(filepath.Dir(path), 0o770)
			if shared(filepath.Dir(path)) == "" {
				return ""
			}
			return path
		}, "another user", "chmod go-w "},
		{"a sticky bit makes no file safe", func(path string) string { mode(path, 0o777|os.ModeSticky); return path }, "another user", "chmod go-w "},
		{"a symbolic link", func(path string) string {
			link := path + "-link"
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			return link
		}, "symbolic link", "make build"},
		{"a folder", func(path string) string { return filepath.Dir(path) }, "not a file", "make build"},
		{"another user's", func(path string) string {
			if err := os.Chown(path, os.Getuid()+1, -1); err != nil {
				return "" // needs root
			}
			return path
		}, "another user", "your own"},
		{"in another user's folder", func(path string) string {
			if err := os.Chown(filepath.Dir(path), os.Getuid()+1, -1); err != nil {
				return "" // needs root
			}
			return path
		}, "another user", "your own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bin")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			ran := filepath.Join(t.TempDir(), "ran")
			path := filepath.Join(dir, "vigil-opener")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n: > '"+ran+"'\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			exe := tt.spoil(path)
			if exe == "" {
				t.Skip("only root can give a file away")
			}
			_, err := opener.At(exe).Start(context.Background(), id.Vault{})
			var e *opener.Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, tt.want) || !strings.Contains(e.Next, tt.next) {
				t.Fatalf("got %v, want one with %q and then %q", err, tt.want, tt.next)
			}
			if _, err := os.Stat(ran); err == nil {
				t.Fatal("it ran")
			}
		})
	}
}
