package vaultfile

import (
	"bytes"
	"slices"

	"vigil/internal/agentproto"
)

// Loosens returns what p lets a key do that old doesn't, each as a clause for a person to
// read; none if a key with p may do no more than with old. It is stricter than !Tightens:
// destinations that old covers loosen nothing, and what can't be compared does.
func (p *Policy) Loosens(old *Policy) (how []string) {
	lost := func(e PolicyEntry) bool { return !e.permission() && !e.in(p.Other) }
	gained := func(e PolicyEntry) bool { return e.permission() && !e.in(old.Other) }
	for _, rule := range []struct {
		looser bool
		how    string
	}{
		{old.Confirm && !p.Confirm, "confirm is lifted"},
		{old.Approve.Stricter(p.Approve), "a person is asked about fewer uses"},
		{p.AllowSHA1 && !old.AllowSHA1, "SHA-1 is allowed"},
		{len(old.Destinations) > 0 && len(p.Destinations) == 0, "its destinations are lifted"},
		{len(old.Destinations) > 0 && len(p.Destinations) > 0 && !covers(old.Destinations, p.Destinations), "its destinations are other ones"},
		{slices.ContainsFunc(old.Other, lost), "a condition that this version of Vigil doesn't know is lifted"},
		{slices.ContainsFunc(p.Other, gained), "a permission that this version of Vigil doesn't know is given"},
	} {
		if rule.looser {
			how = append(how, rule.how)
		}
	}
	return how
}

// covers reports whether a key with the destinations next may be used nowhere but where
// one with old may. Lists that can't be read cover only themselves.
func covers(old, next []byte) bool {
	if bytes.Equal(old, next) {
		return true
	}
	was, err := agentproto.ParseDestinations(old)
	if err != nil {
		return false
	}
	to, err := agentproto.ParseDestinations(next)
	return err == nil && !slices.ContainsFunc(to, func(d agentproto.Destination) bool {
		return !slices.ContainsFunc(was, func(o agentproto.Destination) bool {
			return (len(o.From.Keys) == 0) == (len(d.From.Keys) == 0) && namesAll(&o.From, &d.From) &&
				namesAll(&o.To, &d.To) && (o.To.User == "" || o.To.User == d.To.User)
		})
	})
}

// namesAll reports whether old names every host that next does. The name matters for
// hosts with a certificate only.
func namesAll(old, next *agentproto.Hop) bool {
	return !slices.ContainsFunc(next.Keys, func(k agentproto.KeySpec) bool {
		return k.CA && old.Host != next.Host || !slices.ContainsFunc(old.Keys, func(o agentproto.KeySpec) bool {
			return o.CA == k.CA && bytes.Equal(o.Blob, k.Blob)
		})
	})
}
