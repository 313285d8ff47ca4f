package table

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	before := "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\nother\n<!-- y: end -->\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteInto(path, "x", "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != strings.Replace(before, "old\n", "new\n", 1) {
		t.Fatalf("%q, %v", got, err)
	}
	if err := WriteInto(path, "z", "new\n"); err == nil || !strings.Contains(err.Error(), "<!-- z: begin -->") {
		t.Fatalf("without marks: %v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(got) {
		t.Fatalf("a failure changed it to %q", after)
	}
}
