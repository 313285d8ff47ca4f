package vaultfile

import "testing"

// A condition restricts a key's use, a permission widens it, whether this version knows
// their names or not.
func TestTightens(t *testing.T) {
	none := Policy{}
	confirm, sha1 := Policy{Confirm: true}, Policy{AllowSHA1: true}
	other := func(name, data string) Policy { return Policy{Other: []PolicyEntry{{name, []byte(data)}}} }
	condition, permission := other("office-hours@example.com", "9-17"), other("allow-nights@example.com", "")
	for _, tt := range []struct {
		name          string
		from, to      Policy
		forth, goBack bool
	}{
		{"nothing", none, none, false, false},
		{"confirm", none, confirm, true, false},
		{"SHA-1", none, sha1, false, true},
		{"confirm for SHA-1", confirm, sha1, false, true},
		{"confirm with SHA-1", confirm, Policy{Confirm: true, AllowSHA1: true}, false, true},
		{"approve", none, Policy{Approve: "forwarded"}, true, false},
		{"approve more", Policy{Approve: "forwarded"}, Policy{Approve: "always"}, true, false},
		{"approve nothing", none, Policy{Approve: "never"}, false, true},
		{"approve less, and confirm", Policy{Approve: "first"}, Policy{Approve: "forwarded", Confirm: true}, true, true},
		{"an unknown condition", none, condition, true, false},
		{"another condition of the name", condition, other("office-hours@example.com", "8-18"), true, true},
		{"an unknown permission", none, permission, false, true},
		{"another permission of the name", permission, other("allow-nights@example.com", "1"), true, true},
		{"a condition for a permission", permission, condition, true, false},
	} {
		if got := tt.to.Tightens(&tt.from); got != tt.forth {
			t.Errorf("%s: tightens: %v", tt.name, got)
		}
		if got := tt.from.Tightens(&tt.to); got != tt.goBack {
			t.Errorf("%s, back: tightens: %v", tt.name, got)
		}
	}
}
