package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

func TestGenerate(t *testing.T) {
	for _, c := range []struct {
		kind string
		bits int
		typ  string
		want int
	}{
		{KindEd25519, 0, "ssh-ed25519", 256},
		{KindEd25519, 256, "ssh-ed25519", 256},
		{KindECDSA, 0, "ecdsa-sha2-nistp256", 256},
		{KindECDSA, 256, "ecdsa-sha2-nistp256", 256},
		{KindECDSA, 384, "ecdsa-sha2-nistp384", 384},
		{KindECDSA, 521, "ecdsa-sha2-nistp521", 521},
		{KindRSA, 0, "ssh-rsa", 3072},
		{KindRSA, 2048, "ssh-rsa", 2048},
		{KindComposite, 0, "ssh-mldsa44-ed25519", 256},
		{KindCompositeOpenSSH, 0, "ssh-mldsa44-ed25519@openssh.com", 256},
	} {
		t.Run(fmt.Sprintf("%s %d", c.kind, c.bits), func(t *testing.T) {
			t.Parallel()
			k, err := Generate(c.kind, c.bits, "me@host\n")
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			if k.Type() != c.typ || k.Bits() != c.want || k.Comment() != "me@host?" {
				t.Errorf("type %s, %d bits, comment %q", k.Type(), k.Bits(), k.Comment())
			}
			again, err := Generate(c.kind, c.bits, "")
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if bytes.Equal(k.Encoding(), again.Encoding()) {
				t.Error("the same key twice")
			}
			r := wire.NewReader(k.Encoding())
			read, err := readIdentity(&r)
			if err != nil || r.End() != nil {
				t.Fatalf("read again: %v", err)
			}
			defer read.Close()
			if !bytes.Equal(read.Public(), k.Public()) {
				t.Error("another public half when read again")
			}
		})
	}
}

func TestGenerateRefuses(t *testing.T) {
	for _, c := range []struct {
		kind string
		bits int
	}{
		{"dsa", 0},
		{"", 0},
		{"ed25519\x1b", 0},
		{KindEd25519, 255},
		{KindECDSA, 224},
		{KindRSA, 1024},
		{KindRSA, MinRSABits - 8},
		{KindRSA, MaxRSABits + 8},
		{KindRSA, 3071},
		{KindRSA, -1},
		{KindComposite, 44},
	} {
		if k, err := Generate(c.kind, c.bits, ""); k != nil || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q of %d bits: %v", c.kind, c.bits, err)
		}
	}
}

// exported are keys in every type that can be exported.
var exported = []string{
	"ed25519.openssh", "p256.openssh", "p384.openssh", "p521.openssh",
	"rsa2048.openssh", "mldsa104.openssh", "mldsa106.openssh",
}

func TestExportReadsBack(t *testing.T) {
	for _, file := range exported {
		for _, pass := range []string{"", fixturePassphrase} {
			t.Run(fmt.Sprintf("%s %q", file, pass), func(t *testing.T) {
				t.Parallel()
				k := mustParse(t, readFixture(t, file).data, nil)
				encoding, typed := bytes.Clone(k.Encoding()), []byte(pass)
				out, err := MarshalOpenSSH(encoding, "a comment", typed)
				if err != nil {
					t.Fatal(err)
				}
				if string(typed) != pass || !bytes.Equal(encoding, k.Encoding()) {
					t.Error("the caller's secrets were changed")
				}
				ask := never(t)
				if pass != "" {
					ask = passphrase(pass)
				}
				again := mustParse(t, out, ask)
				if !bytes.Equal(again.Encoding(), k.Encoding()) || again.Comment() != "a comment" {
					t.Error("another key came back")
				}
				for _, line := range strings.Split(string(out), "\n") {
					if len(line) > armorLine {
						t.Errorf("line of %d characters", len(line))
					}
				}
			})
		}
	}
}

// TestExportMatchesSSHKeygen has ssh-keygen, which knows nothing of this code,
// read exported files and tell the public half. (9.2 doesn't know ML-DSA; the
// layout of those is held by TestParseReadsWhatToolsWrite.)
func TestExportMatchesSSHKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Fatal("ssh-keygen is missing; make deps installs it")
	}
	for _, file := range exported {
		if strings.HasPrefix(file, "mldsa") {
			continue
		}
		for _, pass := range []string{"", fixturePassphrase} {
			t.Run(fmt.Sprintf("%s %q", file, pass), func(t *testing.T) {
				t.Parallel()
				k := mustParse(t, readFixture(t, file).data, nil)
				out, err := MarshalOpenSSH(k.Encoding(), "a comment", []byte(pass))
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(t.TempDir(), "key")
				if err := os.WriteFile(path, out, 0o600); err != nil {
					t.Fatal(err)
				}
				got, err := exec.Command(keygen, "-y", "-P", pass, "-f", path).CombinedOutput()
				want := pubkey.AuthorizedKey(k.Public(), "a comment") + "\n"
				if err != nil || string(got) != want {
					t.Fatalf("ssh-keygen -y: %v\n%s\nwant %s", err, got, want)
				}
				if pass != "" {
					if got, err := exec.Command(keygen, "-y", "-P", "wrong", "-f", path).CombinedOutput(); err == nil {
						t.Fatalf("ssh-keygen opened it with a wrong passphrase: %s", got)
					}
				}
			})
		}
	}
}

func TestExportRefuses(t *testing.T) {
	k := mustParse(t, readFixture(t, "ed25519.openssh").data, nil)
	good := k.Encoding()
	for _, c := range []struct {
		name     string
		encoding []byte
		comment  string
		pass     []byte
		want     error
	}{
		{"nothing", nil, "", nil, ErrDamaged},
		{"half a key", good[:len(good)-1], "", nil, ErrDamaged},
		{"bytes after the key", append(bytes.Clone(good), 0), "", nil, ErrDamaged},
		{"a long comment", good, strings.Repeat("c", MaxComment+1), nil, ErrTooLarge},
		{"a long passphrase", good, "", make([]byte, MaxPassphrase+1), ErrTooLarge},
		{"a certificate", strs("ssh-ed25519-cert-v01@openssh.com", "x"), "", nil, ErrUnsupported},
		{"a security key of another kind", strs("sk-ssh-ed448@openssh.com", "x"), "", nil, ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, err := MarshalOpenSSH(c.encoding, c.comment, c.pass); out != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}
