package keeper

import (
	"os/exec"
	"testing"
)

// A keeper that ends before its hello causes an error, not an endless wait.
func TestStartOfOneThatEnds(t *testing.T) {
	exe, err := exec.LookPath("true")
	if err != nil {
		t.Skip(err)
	}
	if c, err := Start(t.Context(), Options{Exe: exe}); err == nil {
		c.Close()
		t.Error("a program that says nothing was taken for a keeper")
	}
}
