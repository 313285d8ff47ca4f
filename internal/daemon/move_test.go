package daemon

import (
	"context"
	"sync"
	"testing"

	"vigil/internal/control"
)

// TestALookWhileAVaultMoves: a concurrent reader sees a configuration change in one
// step. The race detector checks it (make race).
func TestALookWhileAVaultMoves(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.unlock()
	dev.generate("work")
	before := dev.status().Backend
	ctx, stop := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	look := func(once func() error) {
		looking.Go(func() {
			for ctx.Err() == nil {
				if err := once(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 4 {
		look(func() error { _, err := send(dev, &control.StatusRequest{}); return err })
		look(func() error { _, err := send(dev, &control.DoctorRequest{}); return err })
	}
	to := "file://" + t.TempDir()
	for _, place := range []string{to, before, to} {
		must(dev, &control.BackendSetRequest{Backend: place, Passphrase: text(t, passphrase)})
	}
	stop()
	looking.Wait()
	if now := dev.status().Backend; now != to || now == before {
		t.Fatalf("the backend is %s and was %s, want %s", now, before, to)
	}
	dev.generate("there")
}
