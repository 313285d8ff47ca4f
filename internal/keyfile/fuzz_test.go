package keyfile

import (
	"bytes"
	"errors"
	"testing"

	"vigil/internal/keypair"
)

var errNobody = errors.New("nobody to ask")

// FuzzParse feeds files to Parse. Those whose key derivation costs something
// stop at the question for the passphrase; what is behind it is the same code
// that reads unencrypted files.
func FuzzParse(f *testing.F) {
	for _, x := range fixtures(f) {
		f.Add(x.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ask := func() ([]byte, error) { return nil, errNobody }
		if bytes.Contains(data, []byte("DEK-Info")) || bytes.HasPrefix(data, []byte(ppkMagic+"2")) {
			ask = passphrase(fixturePassphrase)
		}
		k, err := Parse(data, ask)
		if err != nil {
			if k != nil || !known(err) && !errors.Is(err, errNobody) {
				t.Fatalf("key %v, error %v", k, err)
			}
			return
		}
		defer k.Close()
		out, err := MarshalOpenSSH(k.Encoding(), k.Comment(), nil)
		if err != nil {
			t.Fatalf("export: %v", err)
		}
		again, err := Parse(out, nil)
		if err != nil {
			t.Fatalf("read what was exported: %v", err)
		}
		defer again.Close()
		if !bytes.Equal(again.Encoding(), k.Encoding()) || again.Comment() != k.Comment() {
			t.Fatal("another key came back")
		}
	})
}

// FuzzDecrypted feeds what a passphrase would have opened to the readers behind it.
func FuzzDecrypted(f *testing.F) {
	for _, x := range fixtures(f) {
		k, err := Parse(x.data, nil)
		if err != nil {
			continue
		}
		f.Add(private(k.Encoding(), k.Comment()), k.Public())
		_ = k.Close()
	}
	f.Fuzz(func(t *testing.T, text, public []byte) {
		for _, k := range []func() (*Key, error){
			func() (*Key, error) { return (&opensshFile{public: public}).readPrivate(text) },
			func() (*Key, error) { return parsePKCS8(text) },
			func() (*Key, error) {
				return (&ppkFile{keyType: keyTypeOf(public), public: public, private: text}).readKey()
			},
		} {
			key, err := k()
			if err == nil {
				_ = key.Close()
			} else if key != nil || !known(err) {
				t.Fatalf("key %v, error %v", key, err)
			}
		}
	})
}

// keyTypeOf returns public's type if it is one that reading a .ppk lets through.
func keyTypeOf(public []byte) []byte {
	f := &ppkFile{encryption: []byte("none"), public: public}
	for _, typ := range []string{typeEd25519, typeRSA, keypair.Curves[0].Type, keypair.Curves[1].Type, keypair.Curves[2].Type} {
		if f.keyType = []byte(typ); f.checkPublic() == nil {
			return f.keyType
		}
	}
	return []byte(typeEd25519)
}
