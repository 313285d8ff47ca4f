package vaultfile

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"vigil/internal/canon"
	"vigil/internal/policy"
)

// Limits of an item's metadata. Its encoding must fit in MaxMetaSize.
const (
	MaxMetaSize = 64<<10 - 1 // bytes of canonical JSON
	maxText     = 1024       // bytes of a name, comment, host or tag
	maxList     = 1024       // hosts, tags, policy entries
	maxBlob     = 48 << 10   // bytes of a public key, certificate or policy value
)

// Meta is a key's metadata. It is stored sealed; list shows it.
type Meta struct {
	Name    string
	Comment string
	Created uint64 // Unix seconds
	// Public is the public key's wire encoding (RFC 4253 section 6.6).
	Public []byte
	// Certificate is an OpenSSH certificate's wire encoding, or empty.
	Certificate []byte
	// Hosts are patterns of the hosts that the key is meant for, sorted.
	Hosts []string
	// Policy says when and how the key may be used.
	Policy Policy
	// Tags are the user's own words, sorted.
	Tags []string
}

// permissionPrefix begins the names of permissions. Other entries are conditions.
const permissionPrefix = "allow-"

// Names of the policy entries that version 1 defines.
const (
	policyApprove      = "approve@vigil"
	policyConfirm      = "confirm"
	policySHA1         = permissionPrefix + "sha1"
	policyDestinations = "restrict-destination-v00@openssh.com"
)

// Policy holds the conditions of a key's use, and the permissions for what keys don't do
// otherwise. As with the critical options of a certificate, a reader that doesn't know
// an entry must refuse to use the key.
type Policy struct {
	// Confirm requires confirmation of every use.
	Confirm bool
	// Approve says which uses a person is asked for; "": those of the vault's default.
	Approve policy.Approve
	// Destinations is the body of a restrict-destination-v00@openssh.com
	// constraint (PROTOCOL.agent), or empty for none.
	Destinations []byte
	// AllowSHA1 permits RSA signatures with SHA-1.
	AllowSHA1 bool
	// Other holds entries that this version doesn't know, sorted by name.
	Other []PolicyEntry
}

// PolicyEntry is one named condition or permission.
type PolicyEntry struct {
	Name string // printable ASCII
	Data []byte
}

// entries returns the policy in stored order: sorted by name.
func (p *Policy) entries() []PolicyEntry {
	out := slices.Clone(p.Other)
	if p.AllowSHA1 {
		out = append(out, PolicyEntry{Name: policySHA1})
	}
	if p.Approve != "" {
		out = append(out, PolicyEntry{Name: policyApprove, Data: []byte(p.Approve)})
	}
	if p.Confirm {
		out = append(out, PolicyEntry{Name: policyConfirm})
	}
	if len(p.Destinations) > 0 {
		out = append(out, PolicyEntry{Name: policyDestinations, Data: p.Destinations})
	}
	slices.SortFunc(out, func(a, b PolicyEntry) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// permission reports whether the key may do more with the entry than without it.
func (e *PolicyEntry) permission() bool { return strings.HasPrefix(e.Name, permissionPrefix) }

// Tightens reports whether p has a condition that old lacks, or lacks a permission that
// old has, or asks a person for more uses. Another entry of the same name with other data
// counts as another: this package can't tell which of the two is stricter.
func (p *Policy) Tightens(old *Policy) bool {
	if p.Approve.Stricter(old.Approve) {
		return true
	}
	now, before := p.entries(), old.entries()
	isApprove := func(e PolicyEntry) bool { return e.Name == policyApprove }
	now, before = slices.DeleteFunc(now, isApprove), slices.DeleteFunc(before, isApprove)
	return slices.ContainsFunc(now, func(e PolicyEntry) bool { return !e.permission() && !e.in(before) }) ||
		slices.ContainsFunc(before, func(e PolicyEntry) bool { return e.permission() && !e.in(now) })
}

func (e *PolicyEntry) in(list []PolicyEntry) bool {
	return slices.ContainsFunc(list, func(o PolicyEntry) bool { return o.Name == e.Name && bytes.Equal(o.Data, e.Data) })
}

func (p *Policy) take(e PolicyEntry) bool {
	switch e.Name {
	case policyApprove:
		var ok bool
		p.Approve, ok = policy.ParseApprove(string(e.Data))
		return ok
	case policyConfirm:
		p.Confirm = true
		return len(e.Data) == 0
	case policySHA1:
		p.AllowSHA1 = true
		return len(e.Data) == 0
	case policyDestinations:
		p.Destinations = e.Data
		return len(e.Data) > 0
	}
	p.Other = append(p.Other, e)
	return true
}

// Encode returns the canonical JSON of m, at most MaxMetaSize bytes. Hosts and
// tags are stored sorted, each once.
func (m *Meta) Encode() ([]byte, error) {
	texts := slices.Concat([]string{m.Name, m.Comment}, m.Hosts, m.Tags)
	for _, s := range texts {
		if len(s) > maxText || !utf8.ValidString(s) {
			return nil, fmt.Errorf("a name, comment, host or tag of %d bytes: want at most %d bytes of UTF-8", len(s), maxText)
		}
	}
	b := append([]byte(nil), `{"name":`...)
	b = canon.AppendText(b, m.Name)
	b = append(b, `,"comment":`...)
	b = canon.AppendText(b, m.Comment)
	b = append(b, `,"created":`...)
	b = canon.AppendUint(b, m.Created)
	b = append(b, `,"public":`...)
	b = canon.AppendBytes(b, m.Public)
	b = append(b, `,"certificate":`...)
	b = canon.AppendBytes(b, m.Certificate)
	b = append(b, `,"hosts":`...)
	b = appendTexts(b, m.Hosts)
	b = append(b, `,"policy":[`...)
	for i, e := range m.Policy.entries() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = canon.AppendToken(b, e.Name)
		b = append(b, `,"data":`...)
		b = canon.AppendBytes(b, e.Data)
		b = append(b, '}')
	}
	b = append(b, `],"tags":`...)
	b = append(appendTexts(b, m.Tags), '}')
	// ParseMeta checks the limits.
	if _, err := ParseMeta(b); err != nil {
		return nil, err
	}
	return b, nil
}

func appendTexts(b []byte, texts []string) []byte {
	texts = slices.Clone(texts)
	slices.Sort(texts)
	b = append(b, '[')
	for i, s := range slices.Compact(texts) {
		if i > 0 {
			b = append(b, ',')
		}
		b = canon.AppendText(b, s)
	}
	return append(b, ']')
}

// ParseMeta reads decrypted, unpadded metadata. Its error quotes nothing from it.
func ParseMeta(data []byte) (m Meta, err error) {
	if len(data) > MaxMetaSize {
		return m, fmt.Errorf("meta of %d bytes, at most %d", len(data), MaxMetaSize)
	}
	r := canon.NewReader(data)
	r.Literal(`{"name":`)
	m.Name = r.Text(maxText)
	r.Literal(`,"comment":`)
	m.Comment = r.Text(maxText)
	r.Literal(`,"created":`)
	m.Created = r.Uint()
	r.Literal(`,"public":`)
	m.Public = r.Bytes(1, maxBlob)
	r.Literal(`,"certificate":`)
	m.Certificate = r.Bytes(0, maxBlob)
	r.Literal(`,"hosts":`)
	m.Hosts = readTexts(&r)
	r.Literal(`,"policy":[`)
	m.Policy = readPolicy(&r)
	r.Literal(`,"tags":`)
	m.Tags = readTexts(&r)
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return Meta{}, fmt.Errorf("meta: %w", err)
	}
	return m, nil
}

// readTexts reads a list of texts, sorted bytewise without repetition.
func readTexts(r *canon.Reader) (out []string) {
	r.Literal(`[`)
	if r.Try(`]`) {
		return nil
	}
	for r.Err() == nil {
		s := r.Text(maxText)
		if n := len(out); n > 0 && s <= out[n-1] || n == maxList {
			r.Fail(fmt.Sprintf("at most %d texts, sorted, each once", maxList))
		}
		out = append(out, s)
		if !r.Try(`,`) {
			break
		}
	}
	r.Literal(`]`)
	return out
}

func readPolicy(r *canon.Reader) (p Policy) {
	if r.Try(`]`) {
		return p
	}
	last := ""
	for n := 0; r.Err() == nil; n++ {
		var e PolicyEntry
		r.Literal(`{"name":`)
		e.Name = r.Token(maxText)
		r.Literal(`,"data":`)
		e.Data = r.Bytes(0, maxBlob)
		r.Literal(`}`)
		if e.Name <= last || n == maxList || !p.take(e) {
			r.Fail("policy entries sorted by name, each once, with the data it takes")
		}
		last = e.Name
		if !r.Try(`,`) {
			break
		}
	}
	r.Literal(`]`)
	return p
}
