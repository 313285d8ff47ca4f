package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"vigil/internal/securitykey"
)

// TestAWaitForATouchIsShown as long as it lasts.
func TestAWaitForATouchIsShown(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has a helper that belongs to root")
	}
	helper := filepath.Join(t.TempDir(), "ssh-sk-helper")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	k := &securityKeys{helper: securitykey.New(helper)}
	err := k.Run(t.Context(), "Touch the security key of work.\nFor: login as root", func(*os.File) error {
		if got := k.touch(); got != "Touch the security key of work. For: login as root" {
			t.Errorf("status says %q", got)
		}
		return nil
	})
	if err != nil || k.touch() != "" {
		t.Errorf("afterwards: %v, status says %q", err, k.touch())
	}
}
