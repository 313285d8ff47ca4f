package daemon

import (
	"testing"

	"vigil/internal/control"
)

// TestStatusAfterARotation: status reports nothing unfinished, unlocked or locked.
func TestStatusAfterARotation(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	for range 2 {
		if s := dev.status(); s.Rotation != "" {
			t.Fatalf("status says %q", s.Rotation)
		}
		must(dev, &control.RotateRequest{})
	}
	if s := dev.status(); s.Rotation != "" || s.KEKVersion != 3 {
		t.Fatalf("finished, and status says %q of KEK %d", s.Rotation, s.KEKVersion)
	}
	dev.lock()
	if s := dev.status(); s.Rotation != "" {
		t.Fatalf("a locked vault's status says %q", s.Rotation)
	}
}
