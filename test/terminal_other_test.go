//go:build !linux

package test

import "github.com/rogpeppe/go-internal/testscript"

// cmdConverse needs pseudo-terminals as Linux makes them.
func cmdConverse(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("converse works on Linux only: begin the script with [!linux] skip")
}
