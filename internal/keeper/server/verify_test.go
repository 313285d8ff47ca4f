package server

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"vigil/internal/testing/ringtest"
	"vigil/internal/vaultfile"
)

// TestVerifyGoesThroughTheFilePartByPart, reports how far it is, and finds what is wrong in
// the last part.
func TestVerifyGoesThroughTheFilePartByPart(t *testing.T) {
	w := newWorld(t, slices.Repeat([]sample{ed25519Key(t)}, 150)...)
	c, _ := opened(t, w)
	var done []int
	verify := func() []string {
		t.Helper()
		done = nil
		problems, err := c.Verify(t.Context(), func(n, total int) { done = append(done, n, total) })
		if err != nil {
			t.Fatal(err)
		}
		return problems
	}
	if problems := verify(); len(problems) > 0 || !reflect.DeepEqual(done, []int{64, 150, 128, 150, 150, 150}) {
		t.Errorf("%q after %v", problems, done)
	}
	lines := ringtest.Lines(w.Objects().File)
	last := must(vaultfile.ParseLine(lines[150]))(t)
	last.Secret[70] ^= 1
	lines[150] = last.Line()
	if err := c.GiveFile(t.Context(), slices.Concat(lines...)); err != nil {
		t.Fatal(err)
	}
	if problems := verify(); len(problems) != 1 || !strings.Contains(problems[0], last.Item.String()) {
		t.Errorf("with the last line changed: %q", problems)
	}
}
