package vaultfile_test

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
	"vigil/internal/vaultfile"
)

func hop(user, host string, keys ...string) agentproto.Hop {
	h := agentproto.Hop{User: user, Host: host}
	for _, k := range keys {
		blob, ca := strings.CutPrefix(k, "ca ")
		h.Keys = append(h.Keys, agentproto.KeySpec{Blob: []byte(blob), CA: ca})
	}
	return h
}

func to(list ...agentproto.Destination) vaultfile.Policy {
	return vaultfile.Policy{Destinations: agentproto.AppendDestinations(nil, list)}
}

func other(name, data string) vaultfile.Policy {
	return vaultfile.Policy{Other: []vaultfile.PolicyEntry{{Name: name, Data: []byte(data)}}}
}

// TestLoosens says which edits let a key do more than before.
func TestLoosens(t *testing.T) {
	none, confirm, sha1 := vaultfile.Policy{}, vaultfile.Policy{Confirm: true}, vaultfile.Policy{AllowSHA1: true}
	a := agentproto.Destination{To: hop("", "a", "key a", "another key a")}
	b := agentproto.Destination{To: hop("", "b", "key b")}
	gitAtA := agentproto.Destination{To: hop("git", "a", "key a")}
	beyond := agentproto.Destination{From: hop("", "a", "key a"), To: hop("", "b", "key b")}
	certified := agentproto.Destination{To: hop("", "*.a", "ca authority")}
	for _, tt := range []struct {
		name            string
		from, to        vaultfile.Policy
		forth, goesBack string
	}{
		{"nothing", none, none, "", ""},
		{"confirm", none, confirm, "", "confirm is lifted"},
		{"SHA-1", none, sha1, "SHA-1 is allowed", ""},
		{"SHA-1 in place of confirm", confirm, sha1, "confirm is lifted, SHA-1 is allowed", ""},
		{"approve", none, vaultfile.Policy{Approve: policy.ApproveForwarded}, "", "a person is asked about fewer uses"},
		{"approve never", none, vaultfile.Policy{Approve: policy.ApproveNever}, "a person is asked about fewer uses", ""},
		{"approve first for always", vaultfile.Policy{Approve: policy.ApproveAlways}, vaultfile.Policy{Approve: policy.ApproveFirst}, "a person is asked about fewer uses", ""},
		{"destinations", none, to(a), "", "its destinations are lifted"},
		{"one destination of two", to(a, b), to(b), "", "its destinations are other ones"},
		{"their order", to(a, b), to(b, a), "", ""},
		{"another destination", to(a), to(b), "its destinations are other ones", "its destinations are other ones"},
		{"a user, and fewer keys of the host", to(a), to(gitAtA), "", "its destinations are other ones"},
		{"a hop in place of the host", to(a), to(beyond), "its destinations are other ones", "its destinations are other ones"},
		{"a host's certificates for its key", to(a), to(agentproto.Destination{To: hop("", "a", "ca key a")}), "its destinations are other ones", "its destinations are other ones"},
		{"more names for an authority", to(agentproto.Destination{To: hop("", "a", "ca authority")}), to(certified), "its destinations are other ones", "its destinations are other ones"},
		{"destinations that can't be read", to(a), vaultfile.Policy{Destinations: []byte("?")}, "its destinations are other ones", "its destinations are other ones"},
		{"an unknown condition", none, other("hours@example.com", "9"), "", "a condition that this version of Vigil doesn't know is lifted"},
		{"an unknown condition, changed", other("hours@example.com", "9"), other("hours@example.com", "8"), "a condition that this version of Vigil doesn't know is lifted", "a condition that this version of Vigil doesn't know is lifted"},
		{"an unknown permission", none, other("allow-nights@example.com", ""), "a permission that this version of Vigil doesn't know is given", ""},
	} {
		if got := strings.Join(tt.to.Loosens(&tt.from), ", "); got != tt.forth {
			t.Errorf("%s: %q", tt.name, got)
		}
		if got := strings.Join(tt.from.Loosens(&tt.to), ", "); got != tt.goesBack {
			t.Errorf("%s, back: %q", tt.name, got)
		}
	}
}

// chosen returns a policy of a small world, so that many pairs are comparable.
func chosen(r *rand.Rand) (p vaultfile.Policy) {
	p.Confirm, p.AllowSHA1 = r.IntN(2) == 0, r.IntN(2) == 0
	p.Approve = []policy.Approve{"", policy.ApproveNever, policy.ApproveForwarded, policy.ApproveFirst, policy.ApproveAlways}[r.IntN(5)]
	var list []agentproto.Destination
	hosts := []string{"a", "b"}
	for range r.IntN(3) {
		d := agentproto.Destination{To: hop([]string{"", "git"}[r.IntN(2)], "h", hosts[r.IntN(2):]...)}
		if r.IntN(2) == 0 {
			d.From = hop("", "h", hosts[r.IntN(2):]...)
		}
		list = append(list, d)
	}
	p.Destinations = agentproto.AppendDestinations(nil, list)
	if r.IntN(3) == 0 {
		p.Other = other([]string{"hours@example.com", "allow-nights@example.com"}[r.IntN(2)], []string{"", "1"}[r.IntN(2)]).Other
	}
	return p
}

// FuzzLoosens: a policy that loosens nothing is one under which a key may do no more.
func FuzzLoosens(f *testing.F) {
	for seed := range uint64(2000) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		a, b, c := chosen(r), chosen(r), chosen(r)
		if how := a.Loosens(&a); how != nil {
			t.Fatalf("%+v is looser than itself: %v", a, how)
		}
		forth, back := b.Loosens(&a), a.Loosens(&b)
		if forth == nil && back == nil && (a.Confirm != b.Confirm || a.AllowSHA1 != b.AllowSHA1 || !reflect.DeepEqual(a.Other, b.Other) || (len(a.Destinations) == 0) != (len(b.Destinations) == 0)) {
			t.Fatalf("neither is looser, and they differ: %+v, %+v", a, b)
		}
		if forth != nil && !a.Tightens(&b) {
			t.Fatalf("%+v is looser than %+v, which doesn't restrict more", b, a)
		}
		if forth != nil {
			return
		}
		if c.Loosens(&b) == nil && c.Loosens(&a) != nil {
			t.Fatalf("%+v, %+v, %+v: no step loosens, and both together do", a, b, c)
		}
		if len(a.Destinations) > 0 {
			for _, path := range paths {
				if visible(b, path) && !visible(a, path) {
					t.Fatalf("with %+v a key is used where %+v forbids it, by %+v", b, a, path)
				}
			}
		}
	})
}

// paths are all paths of one or two hops in the small world.
var paths = func() (list []policy.Path) {
	for _, first := range []string{"a", "b"} {
		at := policy.Binding{Host: policy.Key{Blob: []byte(first)}}
		through := at
		through.Forwarding = true
		list = append(list, policy.Path{Bindings: []policy.Binding{at}}, policy.Path{Bindings: []policy.Binding{through}})
		for _, second := range []string{"a", "b"} {
			list = append(list, policy.Path{Bindings: []policy.Binding{through, {Host: policy.Key{Blob: []byte(second)}}}})
		}
	}
	return list
}()

func visible(p vaultfile.Policy, path policy.Path) bool {
	list, err := agentproto.ParseDestinations(p.Destinations)
	return err == nil && policy.Visible(list, &path, time.Now()) == nil
}
