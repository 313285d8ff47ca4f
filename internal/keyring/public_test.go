package keyring

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"testing"
)

// TestGoodKeys compares the check with sealing to a key.
func TestGoodKeys(t *testing.T) {
	good := newActor(1).pub
	usable := func(p Public) bool {
		if _, err := mlkem.NewEncapsulationKey768(p.HPKE[:latticeKey]); err != nil {
			return false
		}
		point, err := ecdh.X25519().NewPublicKey(p.HPKE[latticeKey:])
		if err != nil {
			return false
		}
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		_, err = key.ECDH(point)
		return err == nil
	}
	same := func(what string, p Public) {
		t.Helper()
		if got, want := p.check() == nil, usable(p); got != want {
			t.Errorf("%s: good is %v, want %v", what, got, want)
		}
	}
	same("a key", good)
	for _, first := range []byte{0, 1, 2, 0xe0, 0x5f, 0xec, 0xed, 0xee, 0xef} {
		for _, rest := range []byte{0, 0xff} {
			for _, last := range []byte{rest, rest &^ 0x80, rest | 0x80} {
				p := good
				for i := latticeKey; i < len(p.HPKE); i++ {
					p.HPKE[i] = rest
				}
				p.HPKE[latticeKey], p.HPKE[len(p.HPKE)-1] = first, last
				same("a point", p)
			}
		}
	}
	bad := 0
	for at := 0; at < coefficients; at++ {
		for _, bits := range []byte{0x0f, 0xf0, 0xff} {
			p := good
			p.HPKE[at] |= bits
			same("a coefficient", p)
			if p.check() != nil {
				bad++
			}
		}
	}
	if bad == 0 {
		t.Error("no coefficient was too large: this test shows nothing")
	}
	p := good
	for i, b := range []byte("\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00") {
		p.HPKE[latticeKey+i] = b
	}
	same("a point of order 8", p)
	for i, b := range []byte("\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57") {
		p.HPKE[latticeKey+i] = b
	}
	same("another one", p)
	if p.check() == nil {
		t.Error("a point of order 8 is good")
	}
}
