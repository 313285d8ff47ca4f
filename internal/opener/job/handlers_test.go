package job

import "testing"

// TestEachJobHasItsName: of two jobs of the same name, one would be unreachable.
func TestEachJobHasItsName(t *testing.T) {
	seen := map[string]bool{}
	for _, h := range (&job{}).handlers() {
		if h.Name == "" || seen[h.Name] {
			t.Errorf("a second job is called %q", h.Name)
		}
		seen[h.Name] = true
	}
}
