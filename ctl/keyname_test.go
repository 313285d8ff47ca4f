package main

import "testing"

func TestKeyNamesAreDerivedFromFiles(t *testing.T) {
	for path, want := range map[string]string{
		"/home/u/.ssh/id_ed25519": "id_ed25519",
		"my key.pem":              "my-key.pem",
		" a\tb\n c ":              "a-b-c",
		"no\u00a0break":           "no-break",
		"k\u00f6nig.ppk":          "k\u00f6nig.ppk",
		"bell\a\x1b[2J":           "bell-[2J",
		"not\xffUTF-8":            "not-UTF-8",
		"a--b":                    "a--b",
		"-o":                      "o",
		"--":                      "",
		"\u202e":                  "",
	} {
		if got := keyName(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	taken := map[string]bool{"id": true, "id-2": true}
	for name, want := range map[string]string{"id": "id-3", "new": "new", "": ""} {
		if got := freeName(name, func(n string) bool { return taken[n] }); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
