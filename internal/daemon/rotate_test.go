package daemon

import (
	"context"
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/keeper"
	"vigil/internal/opener"
)

// TestStatusTellsOfAnUnfinishedRotation, step by step, as interruptions leave it.
func TestStatusTellsOfAnUnfinishedRotation(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	if s := dev.status(); s.Rotation != "" {
		t.Fatalf("nothing was begun, and status says %q", s.Rotation)
	}
	step := func(step keeper.RotationStep) {
		t.Helper()
		_, err := withUnlocked(t.Context(), dev.d, "", func(ctx context.Context, v *vault, o *openVault) (none struct{}, _ error) {
			session, err := opener.Start(ctx, dev.d.o.Opener, o.id)
			if err != nil {
				return none, err
			}
			defer session.Close()
			return none, v.step(ctx, session, o, step, func(rotation) bool { return true })
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	says := func(want string) {
		t.Helper()
		got := dev.status().Rotation
		if !strings.Contains(got, want) || !strings.Contains(got, "vigilctl rotate --vault default finishes it") {
			t.Fatalf("status says %q, want %q and what to do", got, want)
		}
	}
	step(keeper.StepNewKEK)
	says("KEK 2 was made, and the keys are still wrapped by KEK 1")
	step(keeper.StepRewrap)
	says("wrapped by KEK 2, and 1 older isn't retired yet")
	must(dev, &control.RotateRequest{})
	if s := dev.status(); s.Rotation != "" || s.KEKVersion < 2 {
		t.Fatalf("finished, and status says %q of KEK %d", s.Rotation, s.KEKVersion)
	}
	dev.lock()
	if s := dev.status(); s.Rotation != "" {
		t.Fatalf("a locked vault's status says %q", s.Rotation)
	}
}
