package keyring_test

import (
	"errors"
	"strings"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
)

func signedRequest(t *testing.T, vault id.Vault) (*keyring.Request, string) {
	t.Helper()
	p := ringtest.NewPerson(t, keyring.Member)
	r := &keyring.Request{Vault: vault, Name: "alice's laptop", Public: p.Identity.Public, Block: p.Block()}
	text, err := r.Sign(p.Halves)
	if err != nil {
		t.Fatal(err)
	}
	return r, text
}

func TestRequest(t *testing.T) {
	vault := id.Vault{7}
	want, text := signedRequest(t, vault)
	// As mail and chat deliver it.
	got, err := keyring.ParseRequest("Hello,\nplease let me in:\n\n"+strings.ReplaceAll(text, "\n", "\r\n")+"\nBye\n", vault)
	if err != nil {
		t.Fatal(err)
	}
	if got.Identity() != want.Identity() || got.Name != want.Name || got.Public != want.Public || got.Block.Hash() != want.Block.Hash() {
		t.Fatalf("read %+v", got)
	}
	if got.Words() != want.Words() || len(strings.Fields(got.Words())) != keyring.Words {
		t.Fatalf("fingerprint %q, want %q", got.Words(), want.Words())
	}
	if !keyring.SameWords(got.Words(), strings.ToUpper(strings.ReplaceAll(want.Words(), " ", ", "))) {
		t.Fatal("the same words, typed otherwise, are refused")
	}
	other, _ := signedRequest(t, vault)
	if keyring.SameWords(other.Words(), want.Words()) || keyring.SameWords("", "") {
		t.Fatal("other words, or none, are accepted")
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	vault := id.Vault{7}
	_, text := signedRequest(t, vault)
	if _, err := keyring.ParseRequest(text, id.Vault{8}); keyring.StageOf(err) != keyring.StageVault {
		t.Errorf("of another vault: %v", err)
	}
	body := strings.Index(text, "\n") + 1
	for name, spoilt := range map[string]string{
		"empty":        "",
		"cut":          text[:len(text)/2],
		"other armour": strings.ReplaceAll(text, "VIGIL IDENTITY REQUEST", "CERTIFICATE"),
		"too long":     text + strings.Repeat(" ", keyring.MaxRequest),
		"with headers": text[:body] + "Name: x\n\n" + text[body:],
	} {
		if _, err := keyring.ParseRequest(spoilt, vault); !errors.Is(err, keyring.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Every character counts.
	for at := body; at < len(text)-40; at += 97 {
		c := byte('A')
		if text[at] == 'A' {
			c = 'B'
		}
		if text[at] == '\n' {
			continue
		}
		if _, err := keyring.ParseRequest(text[:at]+string(c)+text[at+1:], vault); err == nil {
			t.Errorf("changed at %d: accepted", at)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	p := ringtest.NewPerson(f, keyring.Owner)
	r := &keyring.Request{Name: "é\n", Public: p.Identity.Public, Block: p.Block()}
	text, err := r.Sign(p.Halves)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("-----BEGIN VIGIL IDENTITY REQUEST-----\n-----END VIGIL IDENTITY REQUEST-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := keyring.ParseRequest(text, id.Vault{})
		if err == nil && r.Block.KDF.Check() != nil {
			t.Fatal("accepted an unlock block that nobody may use")
		}
	})
}
