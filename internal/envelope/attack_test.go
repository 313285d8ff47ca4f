package envelope_test

import (
	"bytes"
	"encoding/base64"
	"testing"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// TestAttacksOnWhatIsStored: each is refused at its stage, and at no other.
func TestAttacksOnWhatIsStored(t *testing.T) {
	w := newWorld(t)
	good, f := w.objects(), w.owner.factors(w)
	for _, p := range []*person{w.owner, w.member} {
		got, err := read(good, p.factors(w))
		wantStage(t, err, "")
		if len(got.items) != 3 {
			t.Fatalf("%d heads, want one of A and two of B", len(got.items))
		}
	}
	f.LastDeks = good.deks
	for _, tt := range faults(w) {
		t.Run(tt.object+"/"+tt.name, func(t *testing.T) {
			o := good.with(tt.object, tt.data)
			_, err := read(o, f.before(tt.object))
			wantStage(t, err, tt.expect)
		})
	}
}

// before is what a reader of a vector has seen. What only a writer could make
// would be refused as a fork else.
func (f factors) before(object string) factors {
	if object == "deks+vault" {
		f.LastDeks = nil
	}
	return f
}

func (o objects) with(object string, data []byte) objects {
	switch object {
	case "vault":
		o.vault = data
	case "members":
		o.members = data
	case "deks":
		o.deks = data
	case "deks+vault":
		at := bytes.Index(data, []byte(`{"vigil":"vault"`))
		o.deks, o.vault = data[:at], data[at:]
	}
	return o
}

// TestNeitherFactorAloneOpensAVault is promise 1, as far as this package goes.
func TestNeitherFactorAloneOpensAVault(t *testing.T) {
	w := newWorld(t)
	o, f := w.objects(), w.owner.factors(w)
	noShare, noPassphrase, others := f, f, f
	noShare.Share = make([]byte, 32)
	noPassphrase.Passphrase = "another"
	others.Share, others.Passphrase = w.member.share, w.member.passphrase
	for name, f := range map[string]factors{"no share": noShare, "no passphrase": noPassphrase, "another identity's": others} {
		t.Run(name, func(t *testing.T) {
			_, err := read(o, f)
			wantStage(t, err, "halves wrong-key")
		})
	}
}

// TestFlippedBitsInTheVaultFile flips every bit of a vault file in turn: each
// flip is refused, or takes the one line out of use.
func TestFlippedBitsInTheVaultFile(t *testing.T) {
	w := newWorld(t)
	o, f := w.objects(), w.owner.factors(w)
	good := must(read(o, f))(t)
	// Opening the identity for every bit would take minutes.
	open := func(vault []byte) (int, error) { return countItems(w, good.keks, vault) }
	if n, err := open(o.vault); n != 3 || err != nil {
		t.Fatalf("%d items, %v", n, err)
	}
	bad := append([]byte(nil), o.vault...)
	for at := range bad {
		for bit := range 8 {
			bad[at] ^= 1 << bit
			if n, err := open(bad); err == nil && n == 3 {
				t.Fatalf("bit %d of byte %d flipped: all items opened", bit, at)
			}
			bad[at] = o.vault[at]
		}
	}
}
