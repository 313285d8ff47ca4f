package main

import (
	"encoding/base64"
	"strings"
	"testing"

	"vigil/internal/control"
)

// testKey is an Ed25519 public key's blob in base64.
const testKey = "AAAAC3NzaC1lZDI1NTE5AAAAIJ+WZQkkn1KeozJ3n3SknQ8Q0GFdnqlUAjvCKA7Tqq0N"

func decode64(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKnownHostLines(t *testing.T) {
	const key = " ssh-ed25519 " + testKey
	for _, tc := range []struct {
		line, host string
		ok, ca     bool
	}{
		{"example.org" + key, "example.org", true, false},
		{"Example.ORG" + key + " comment", "example.org", true, false},
		{"a,example.org,b" + key, "example.org", true, false},
		{"*.example.org" + key, "host.example.org", true, false},
		{"*.example.org" + key, "example.org", false, false},
		{"*.example.org,!bad.example.org" + key, "bad.example.org", false, false},
		{"!bad.example.org" + key, "good.example.org", false, false},
		{"[example.org]:2222" + key, "[example.org]:2222", true, false},
		{"@cert-authority *.example.org" + key, "a.example.org", true, true},
		{"@revoked example.org" + key, "example.org", false, false},
		{"# example.org" + key, "example.org", false, false},
		{"", "example.org", false, false},
		{"example.org ssh-rsa " + testKey, "example.org", false, false},
		{"example.org ssh-ed25519 !!!!", "example.org", false, false},
		// ssh-keygen -H of "example.org"
		{"|1|AAECAwQFBgcICQoLDA0ODxAREhM=|bFDVYqbsfLlUB0fPAZemUYx8Gnc=" + key, "example.org", true, false},
		{"|1|AAECAwQFBgcICQoLDA0ODxAREhM=|bFDVYqbsfLlUB0fPAZemUYx8Gnc=" + key, "example.com", false, false},
		{"|1|nonsense" + key, "example.org", false, false},
	} {
		h, ok := parseKnownHost(tc.line)
		ok = ok && h.matches(tc.host)
		if ok != tc.ok || ok && h.key.CA != tc.ca {
			t.Errorf("%q for %s: %v (CA %v), want %v", tc.line, tc.host, ok, h.key.CA, tc.ok)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "abc", true},
		{"a*c", "abbbc", true},
		{"a*c", "abbbd", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"*a*b", "xaxbxb", true},
		{"**", "a", true},
		{strings.Repeat("*a", 50), strings.Repeat("a", 49), false},
	} {
		if got := matchPattern(tc.pattern, tc.text); got != tc.want {
			t.Errorf("%q against %q: %v", tc.pattern, tc.text, got)
		}
	}
}

func TestDestinations(t *testing.T) {
	h, ok := parseKnownHost("a.org,b.org,[c.org]:22,fe80::1 ssh-ed25519 " + testKey)
	if !ok {
		t.Fatal("the line isn't read")
	}
	hosts := []knownHost{h}
	for spec, want := range map[string]string{ // from>user@to
		"a.org":           ">@a.org",
		"git@A.org":       ">git@a.org",
		"a.org>b.org":     "a.org>@b.org",
		"a.org>*@b.org":   "a.org>*@b.org",
		"u@x@a.org":       ">u@x@a.org",
		"root@[fe80::1]":  ">root@fe80::1",
		"u@[c.org]:22":    ">u@[c.org]:22",
		"u@a.org>b.org":   "error",
		"@a.org":          "error",
		">a.org":          "error",
		"a.org>":          "error",
		"a.org>b.org>c":   "error",
		"unknown.example": "error",
	} {
		d, err := parseDestinations([]string{spec}, hosts)
		got := "error"
		if err == nil {
			got = d[0].From.Host + ">" + d[0].To.User + "@" + d[0].To.Host
			if len(d[0].To.Keys) != 1 || d[0].From.Host != "" && len(d[0].From.Keys) != 1 {
				t.Errorf("%s: keys are missing", spec)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%v)", spec, got, want, err)
		}
		if e := control.AsError(err); err != nil && e.Next != `Write "[user@]host" or "host>[user@]host".` && spec != "unknown.example" {
			t.Errorf("%s: %v, next %q", spec, e, e.Next)
		}
	}
}
