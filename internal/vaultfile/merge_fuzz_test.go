package vaultfile

import (
	"bytes"
	"slices"
	"testing"

	"vigil/internal/id"
)

// Merging any two files fails only if they are of different vaults, is commutative
// and idempotent, and loses no line.
func FuzzMerge(f *testing.F) {
	one := encode(f, New(testVault).Add(rev(1, 1), rev(1, 2, 1)))
	two := encode(f, New(testVault).Add(rev(1, 3, 1), rev(2, 1)))
	f.Add([]byte(one), []byte(two))
	f.Add([]byte(one), []byte(one[:len(one)-7]))
	f.Add([]byte(one+two), Header(testVault))
	f.Add(Header(id.Vault{9}), []byte(two))
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, errA := Parse(x, id.Vault{})
		b, errB := Parse(y, id.Vault{})
		if errA != nil || errB != nil {
			return
		}
		ab, err := Merge(a, b)
		if a.Vault() != b.Vault() {
			if err == nil {
				t.Fatal("files of two vaults were merged")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		ba, err := Merge(b, a)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Merge(ab, b)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Damaged())+len(b.Damaged()) == 0 && (!bytes.Equal(ab.EncodeAll(), ba.EncodeAll()) || !bytes.Equal(ab.EncodeAll(), again.EncodeAll())) {
			t.Fatal("the order or the repetition of a merge matters")
		}
		if got, err := a.Apply(a.Index().Delta(b)); err != nil || !slices.EqualFunc(got.lines, b.lines, func(x, y Line) bool { return bytes.Equal(x.text, y.text) && x.Sum == y.Sum }) {
			t.Fatalf("the change from one to the other doesn't make it: %v", err)
		}
		for _, from := range []*File{a, b} {
			for _, line := range from.Lines() {
				v := line.Decode()
				if !has(ab, v) {
					t.Fatalf("revision %v is lost", v.Revision)
				}
			}
		}
	})
}
