package keyfile

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"vigil/internal/guard"
	"vigil/internal/signer"
	"vigil/internal/wire"
)

// A specimen is a file that somebody may have, made here, and who reads it: `ssh-keygen
// -y` (9.2 to 10.6 on OpenSSL 3), puttygen, Vigil.
type specimen struct {
	name                 string
	kind                 string // docs/import.md names a difference by this, or by name if it is empty
	keygen, putty, vigil bool
	file                 []byte
	// identity is what ssh-add would send of the file, if it is of OpenSSH's format.
	identity []byte
}

func (s *specimen) row() string {
	if s.kind != "" {
		return s.kind
	}
	return s.name
}

// differs reports whether Vigil refuses what another program reads, or the reverse.
func (s *specimen) differs() bool { return s.vigil != (s.keygen || s.putty) }

const (
	yes = true
	no  = false
)

// TestCorpus gives every specimen to the three programs.
func TestCorpus(t *testing.T) {
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slab.Close() })
	for _, s := range corpus(t) {
		t.Run(s.name, func(t *testing.T) {
			k, err := Parse(s.file, passphrase(fixturePassphrase))
			if (err == nil) != s.vigil {
				t.Errorf("Vigil: %v", err)
			}
			if strings.HasPrefix(s.name, "a negative") && err != nil && !strings.Contains(err.Error(), "negative") {
				t.Errorf("the reason isn't named: %v", err)
			}
			if k != nil {
				defer k.Close()
				if _, rest, err := signer.Parse(slab, k.Encoding()); err != nil || len(rest) != 0 {
					t.Errorf("the agent doesn't take what was imported: %v", err)
				}
			}
			if s.identity != nil {
				added, _, err := signer.Parse(slab, s.identity)
				if (err == nil) != s.vigil {
					t.Errorf("the agent, when it is added: %v", err)
				}
				added.Free()
			}
			if runtime.GOOS != "linux" {
				return // the verdicts are those of OpenSSH on OpenSSL
			}
			x := newTool(t)
			path := x.path("key", s.file)
			keygen := exec.Command("ssh-keygen", "-y", "-P", fixturePassphrase, "-f", path)
			out, err := keygen.Output()
			if (err == nil) != s.keygen {
				t.Errorf("ssh-keygen: %v", err)
			}
			if k != nil && err == nil && !strings.HasPrefix(string(out), k.Type()+" "+base64.StdEncoding.EncodeToString(k.Public())) {
				t.Errorf("ssh-keygen reads another key: %s", out)
			}
			form := "private" // another than the file's, or puttygen sees nothing to do
			if bytes.HasPrefix(s.file, []byte(ppkMagic)) {
				form = "private-openssh-new"
			}
			putty := exec.Command("puttygen", path, "-O", form, "-o", x.dir+"/out",
				"--old-passphrase", x.dir+"/pass", "--new-passphrase", x.dir+"/empty")
			if err := putty.Run(); (err == nil) != s.putty {
				t.Errorf("puttygen: %v", err)
			}
		})
	}
}

// TestDifferencesAreExplained holds the list in docs/import.md to the corpus.
func TestDifferencesAreExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/import.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Where Vigil differs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	row := regexp.MustCompile(`(?m)^\| (.+) \| (reads|refuses) \| (reads|refuses) \| (reads|refuses) \| (.+) \|$`)
	explained := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		explained[m[1]] = m[2] + ", " + m[3] + ", " + m[4]
	}
	word := func(reads bool) string {
		if reads {
			return "reads"
		}
		return "refuses"
	}
	seen := map[string]bool{}
	for _, s := range corpus(t) {
		if !s.differs() {
			continue
		}
		verdicts := word(s.keygen) + ", " + word(s.putty) + ", " + word(s.vigil)
		if got := explained[s.row()]; got != verdicts {
			t.Errorf("%s: docs/import.md has %q for %q, want %q", s.name, got, s.row(), verdicts)
		}
		seen[s.row()] = true
	}
	for name := range explained {
		if !seen[name] {
			t.Errorf("docs/import.md explains %q, which is no difference", name)
		}
	}
}

// An rsaParts is an RSA key's numbers as the contents of mpints or INTEGERs, to be
// changed before they are written.
type rsaParts struct{ n, e, d, p, q, dp, dq, qinv []byte }

// twos is x in its shortest form, with a zero before a high bit.
func twos(x *big.Int) []byte {
	b := x.Bytes()
	if len(b) == 0 || b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b
}

// padded has more leading zeros than it needs.
func padded(b []byte) []byte { return append([]byte{0, 0}, b...) }

// bare lacks the zero before a high bit, and so is negative.
func bare(b []byte) []byte { return bytes.TrimLeft(b, "\x00") }

func numbersOf(k *rsa.PrivateKey) *rsaParts {
	return &rsaParts{
		n: twos(k.N), e: twos(big.NewInt(int64(k.E))), d: twos(k.D), p: twos(k.Primes[0]), q: twos(k.Primes[1]),
		dp: twos(k.Precomputed.Dp), dq: twos(k.Precomputed.Dq), qinv: twos(k.Precomputed.Qinv),
	}
}

func (k rsaParts) identity() []byte {
	b := strs(typeRSA)
	for _, f := range [][]byte{k.n, k.e, k.d, k.qinv, k.p, k.q} {
		if len(f) == 1 && f[0] == 0 {
			f = nil // zero
		}
		b = wire.AppendString(b, f)
	}
	return b
}

func (k rsaParts) public() []byte { return strs(typeRSA, string(k.e), string(k.n)) }

func (k rsaParts) openssh() []byte { return inOpenSSH(k.public(), k.identity()) }

// inOpenSSH is an unencrypted file of OpenSSH's format.
func inOpenSSH(public, identity []byte) []byte {
	return opensshParts{cipher: "none", kdf: "none", keys: 1, public: public, private: private(identity, "c")}.file()
}

func (k rsaParts) pkcs1() []byte {
	return inPEM(pemPKCS1, derIntegers(nil, k.n, k.e, k.d, k.p, k.q, k.dp, k.dq, k.qinv))
}

// derIntegers is a SEQUENCE of INTEGERs with these contents; nil is a zero.
func derIntegers(contents ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, c := range contents {
			if len(c) == 0 {
				c = []byte{0}
			}
			b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(c) })
		}
	})
	return b.BytesOrPanic()
}

func inPEM(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func (k rsaParts) ppk() []byte {
	return inPPK(typeRSA, k.public(), strs(string(k.d), string(k.p), string(k.q), string(k.qinv)))
}

// inPPK is an unencrypted .ppk of version 2.
func inPPK(keyType string, public, private []byte) []byte {
	f := ppkFile{version: 2, keyType: []byte(keyType), encryption: []byte("none"), comment: []byte("c"), public: public, private: private}
	lines := func(b []byte) string {
		text := base64.StdEncoding.EncodeToString(b)
		out, n := "", 0
		for ; len(text) > 0; n++ {
			size := min(64, len(text))
			out += text[:size] + "\n"
			text = text[size:]
		}
		return fmt.Sprintf("%d\n%s", n, out)
	}
	return fmt.Appendf(nil, "%s2: %s\nEncryption: none\nComment: c\nPublic-Lines: %sPrivate-Lines: %sPrivate-MAC: %x\n",
		ppkMagic, keyType, lines(public), lines(private), f.computeMAC(f.deriveKeys(nil).mac))
}

// libraryRSA reads a key of testdata.
func libraryRSA(t *testing.T, file string) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(readFixture(t, file).data)
	k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
