package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestManual: vigild(8) has an item for each flag.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../packaging/man/vigild.8")
	if err != nil {
		t.Fatal(err)
	}
	var help strings.Builder
	_, _ = parse([]string{"--help"}, &help)
	flags := regexp.MustCompile(`(?m)^  -(\S+)`).FindAllStringSubmatch(help.String(), -1)
	if len(flags) == 0 {
		t.Fatalf("no flags in:\n%s", help.String())
	}
	for _, f := range flags {
		if !regexp.MustCompile(`(?m)^\.It Fl -` + f[1] + `( |$)`).Match(page) {
			t.Errorf("vigild(8) has no item for --%s", f[1])
		}
	}
}
