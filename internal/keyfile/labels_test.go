package keyfile

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"
)

// TestLabelOfAnotherFormat puts each kind of DER under each label, in clear and encrypted
// by RFC 1421's headers: what is inside says what it is.
func TestLabelOfAnotherFormat(t *testing.T) {
	labels := []string{pemPKCS1, pemSEC1, pemPKCS8, pemEncrypted}
	for _, file := range []string{"rsa2048.pem", "p256.pem", "rsa2048.pkcs8", "p384.pkcs8", "edossl.pkcs8", "p521.pkcs8.aes-256-cbc"} {
		f := readFixture(t, file)
		block, _ := pem.Decode(f.data)
		ask := never(t)
		if f.encrypted {
			ask = passphrase(fixturePassphrase)
		}
		want := mustParse(t, f.data, ask)
		same := func(t *testing.T, block *pem.Block, ask func() ([]byte, error)) {
			if got := mustParse(t, pem.EncodeToMemory(block), ask); !bytes.Equal(got.Encoding(), want.Encoding()) {
				t.Error("another key")
			}
		}
		for _, label := range labels {
			t.Run(file+" under "+label, func(t *testing.T) {
				same(t, &pem.Block{Type: label, Bytes: block.Bytes}, ask)
			})
			if f.encrypted {
				continue
			}
			t.Run(file+" with headers under "+label, func(t *testing.T) {
				//lint:ignore SA1019 existing files use it
				sealed, err := x509.EncryptPEMBlock(zeros{}, label, block.Bytes, []byte(fixturePassphrase), x509.PEMCipherAES192)
				if err != nil {
					t.Fatal(err)
				}
				same(t, sealed, passphrase(fixturePassphrase))
				if k, err := Parse(pem.EncodeToMemory(sealed), passphrase("wrong")); k != nil || !errors.Is(err, ErrWrongPassphrase) {
					t.Errorf("wrong passphrase: %v", err)
				}
			})
		}
	}
}

// TestDSAUnderAnyLabel: what is refused is called by its name under every label.
func TestDSAUnderAnyLabel(t *testing.T) {
	for _, file := range []string{"dsa.pem", "dsa.pkcs8"} {
		block, _ := pem.Decode(readFixture(t, file).data)
		for _, label := range []string{pemPKCS1, pemSEC1, pemPKCS8, pemEncrypted, pemDSA} {
			block.Type = label
			if k, err := Parse(pem.EncodeToMemory(block), never(t)); k != nil || !errors.Is(err, errDSA) {
				t.Errorf("%s under %s: %v", file, label, err)
			}
		}
	}
}

// zeros is a source of zero bytes, for an initialisation vector.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
