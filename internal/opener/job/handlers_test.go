package job

import (
	"testing"
	"testing/synctest"
)

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

// TestAFileThatIsHeldOpen: the vault doesn't wait for the program at its other end.
func TestAFileThatIsHeldOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		_, err := inTime(func() (int, error) { <-end; return 0, nil })
		close(end)
		e := sorted(err)
		if e.Message != "an input or output of the command took longer than 10s" ||
			e.Next != "Nothing was changed. Write it to a file first, or find out why the program at its other end waits." {
			t.Errorf("it says %q and %q", e.Message, e.Next)
		}
	})
}
