package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

const fixturePassphrase = "correct horse"

// A fixture is a private key file that testdata/make.sh made.
type fixture struct {
	file      string // NAME.FORMAT[.CIPHER]
	name      string // the key's: NAME.pub is its public half
	format    string
	encrypted bool
	data      []byte
}

// refused says which files give no key, by file name or by NAME alone.
var refused = map[string]error{
	"dsa":                  ErrUnsupported,
	"rsa1024":              ErrUnsupported,
	"ed448":                ErrUnsupported,
	"x25519":               ErrUnsupported,
	"rsapss":               ErrUnsupported,
	"secp256k1":            ErrUnsupported,
	"ssh1":                 ErrUnsupported,
	"p256.pem-explicit":    ErrUnsupported,
	"edossl.pkcs8.pbes1":   ErrUnsupported,
	"p521.pkcs8.pbes1":     ErrUnsupported,
	"rsa2048.pkcs8.pbes1":  ErrUnsupported,
	"rsa2048.sshcom":       ErrUnsupported,
	"ed25519.ppk3.argon2d": ErrUnsupported,
	"rsa2048.spki":         ErrPublicKey,
	"rsa2048.pkcs1-public": ErrPublicKey,
	"rsa2048.ssh2-public":  ErrPublicKey,
}

func (f *fixture) refusal() error {
	if strings.HasSuffix(f.file, ".pub") {
		return ErrPublicKey
	}
	if err := refused[f.file]; err != nil {
		return err
	}
	return refused[f.name]
}

// fixtures returns all files of testdata/keys.
func fixtures(t testing.TB) []*fixture {
	t.Helper()
	entries, err := os.ReadDir("testdata/keys")
	if err != nil {
		t.Fatal(err)
	}
	var all []*fixture
	for _, e := range entries {
		all = append(all, readFixture(t, e.Name()))
	}
	return all
}

func readFixture(t testing.TB, file string) *fixture {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/keys", file))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(file, ".", 3)
	f := &fixture{file: file, name: parts[0], encrypted: len(parts) == 3, data: data}
	if len(parts) > 1 {
		f.format = parts[1]
	}
	return f
}

func (f *fixture) public(t testing.TB) (blob []byte, comment string) {
	t.Helper()
	line, err := os.ReadFile(filepath.Join("testdata/keys", f.name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(line))
	if blob, err = base64.StdEncoding.DecodeString(fields[1]); err != nil {
		t.Fatal(err)
	}
	if len(fields) > 2 {
		comment = fields[2]
	}
	return blob, comment
}

func passphrase(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

// never is a passphrase that must not be asked for.
func never(t testing.TB) func() ([]byte, error) {
	return func() ([]byte, error) {
		t.Error("asked for a passphrase")
		return nil, errors.New("asked")
	}
}

func mustParse(t testing.TB, data []byte, ask func() ([]byte, error)) *Key {
	t.Helper()
	k, err := Parse(data, ask)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// TestParseReadsWhatToolsWrite reads every file and compares its public half
// with the tool's .pub and its encoding with the one that ssh-keygen itself
// wrote into the unencrypted OpenSSH file of the same key.
func TestParseReadsWhatToolsWrite(t *testing.T) {
	read := 0
	for _, f := range fixtures(t) {
		if f.refusal() != nil {
			continue
		}
		read++
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			ask := never(t)
			if f.encrypted {
				ask = passphrase(fixturePassphrase)
			}
			before := bytes.Clone(f.data)
			k := mustParse(t, f.data, ask)
			blob, comment := f.public(t)
			if !bytes.Equal(k.Public(), blob) {
				t.Errorf("public half %x, want %x", k.Public(), blob)
			}
			if k.Type() != pubkey.Type(blob) || k.Fingerprint() != pubkey.SHA256(blob) || k.Bits() != pubkey.Bits(blob) {
				t.Errorf("type %s, %d bits, %s", k.Type(), k.Bits(), k.Fingerprint())
			}
			if strings.HasPrefix(f.format, "openssh") || strings.HasPrefix(f.format, "ppk") {
				if k.Comment() != comment {
					t.Errorf("comment %q, want %q", k.Comment(), comment)
				}
			} else if k.Comment() != "" {
				t.Errorf("comment %q in a format without", k.Comment())
			}
			if !bytes.Equal(f.data, before) {
				t.Error("the caller's data was changed")
			}
			if f.name == "edossl" {
				return // ssh-keygen 9.2 doesn't read it
			}
			block, _ := pem.Decode(readFixture(t, f.name+".openssh").data)
			if !bytes.Contains(block.Bytes, wire.AppendString(bytes.Clone(k.Encoding()), comment)) {
				t.Error("encoding is not the one ssh-keygen wrote")
			}
		})
	}
	if read < 115 {
		t.Errorf("%d files read: testdata is not complete", read)
	}
}

func TestParseRefusesWithoutAsking(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range fixtures(t) {
		want := f.refusal()
		if want == nil {
			continue
		}
		seen[f.file], seen[f.name] = true, true
		t.Run(f.file, func(t *testing.T) {
			ask := never(t)
			switch f.file {
			case "rsa1024.pem.aes128", "rsa1024.pkcs8.keygen", "dsa.pkcs8.keygen": // what it is is encrypted
				ask = passphrase(fixturePassphrase)
			}
			k, err := Parse(f.data, ask)
			if k != nil || !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
		})
	}
	for name := range refused {
		if !seen[name] {
			t.Errorf("no file %s in testdata", name)
		}
	}
}

func TestWrongPassphrase(t *testing.T) {
	wrong := 0
	for _, f := range fixtures(t) {
		if f.refusal() != nil || !f.encrypted {
			continue
		}
		wrong++
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			if k, err := Parse(f.data, passphrase("correct house")); k != nil || !errors.Is(err, ErrWrongPassphrase) {
				t.Errorf("got %v", err)
			}
			if k, err := Parse(f.data, passphrase("")); k != nil || !errors.Is(err, ErrWrongPassphrase) {
				t.Errorf("empty: got %v", err)
			}
			if k, err := Parse(f.data, nil); k != nil || !errors.Is(err, ErrPassphraseNeeded) {
				t.Errorf("nobody to ask: got %v", err)
			}
		})
	}
	if wrong < 70 {
		t.Errorf("%d encrypted files: testdata is not complete", wrong)
	}
}

func TestPassphraseIsAskedOnceAndWiped(t *testing.T) {
	for _, file := range []string{
		"ed25519.openssh.aes256-ctr", "rsa2048.pem.aes128", "p521.pkcs8.scrypt", "p256.ppk2.aes", "p256.ppk3.argon2id",
	} {
		for _, typed := range []string{fixturePassphrase, "wrong", strings.Repeat("x", MaxPassphrase+1)} {
			f := readFixture(t, file)
			asked, given := 0, []byte(typed)
			k, err := Parse(f.data, func() ([]byte, error) { asked++; return given, nil })
			if k != nil {
				_ = k.Close()
			}
			if len(typed) > MaxPassphrase && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: long passphrase: %v", file, err)
			}
			if asked != 1 {
				t.Errorf("%s: asked %d times", file, asked)
			}
			if !bytes.Equal(given, make([]byte, len(given))) {
				t.Errorf("%s: passphrase %d bytes long was not wiped", file, len(typed))
			}
		}
	}
}

func TestPassphraseErrorIsReturned(t *testing.T) {
	cancelled := errors.New("cancelled")
	given := []byte("half typed")
	_, err := Parse(readFixture(t, "ed25519.openssh.aes256-ctr").data, func() ([]byte, error) { return given, cancelled })
	if !errors.Is(err, cancelled) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(given, make([]byte, len(given))) {
		t.Error("passphrase was not wiped")
	}
}

func TestKeyPrintsRedacted(t *testing.T) {
	k := mustParse(t, readFixture(t, "ed25519.openssh").data, nil)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != redacted {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if got, err := json.Marshal(map[string]any{"key": k}); err != nil || string(got) != `{"key":"[redacted]"}` {
		t.Errorf("JSON %s, %v", got, err)
	}
	if k.String() != redacted || k.GoString() != redacted {
		t.Error("String and GoString show the key")
	}
}

func TestCloseEndsTheEncoding(t *testing.T) {
	k, err := Parse(readFixture(t, "ed25519.openssh").data, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Encoding()) == 0 {
		t.Fatal("no encoding")
	}
	for range 2 {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if k.Encoding() != nil {
			t.Fatal("encoding after Close")
		}
	}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
