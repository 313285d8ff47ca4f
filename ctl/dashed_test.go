package main

import (
	"slices"
	"strings"
	"testing"
)

func TestIDsThatLookLikeFlags(t *testing.T) {
	const whole, double = "-S6eAAAAAAAAAAAAAAAAAA", "--6eAAAAAAAAAAAAAAAAAA"
	for line, want := range map[string]string{
		"show -S6e":                                  "show -- -S6e",
		"show " + whole + " --public":                "show --public -- " + whole,
		"show " + double:                             "show -- " + double,
		"--json show -S6e --vault v":                 "show --json --vault v -- -S6e",
		"identity remove -S6e --yes":                 "identity remove --yes -- -S6e",
		"vault restore -S6e --revision -S7f":         "vault restore --revision -S7f -- -S6e",
		"vault restore laptop --revision -S7f":       "vault restore laptop --revision -S7f",
		"edit -S6e --comment -abc --confirm --tag=x": "edit --comment -abc --confirm --tag=x -- -S6e",
		"edit laptop --comment -abc":                 "edit laptop --comment -abc",
		"show -- -S6e":                               "show -- -S6e",
		"show laptop --help":                         "show laptop --help",
		"show laptop -h":                             "show laptop -h",
		"show laptop -json":                          "show laptop -json",
		"show laptop --jsn":                          "show laptop --jsn",
		"show -S":                                    "show -S",
		"generate -S6e":                              "generate -S6e",
		"list -S6e":                                  "list -S6e",
		"-S6e":                                       "-S6e",
		"":                                           "",
	} {
		a := &app{}
		if got := markIDs(a.root(), strings.Fields(line)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %s", line, got, want)
		}
	}
}
