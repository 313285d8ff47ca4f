package keyfile

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A tool makes files with a real program, in a folder of its own.
type tool struct {
	t   *testing.T
	dir string
}

func newTool(t *testing.T) tool {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"pass": fixturePassphrase, "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tool{t, dir}
}

// path returns the path of a copy of data, which only its owner can read.
func (x tool) path(name string, data []byte) string {
	x.t.Helper()
	path := filepath.Join(x.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		x.t.Fatal(err)
	}
	return path
}

// run runs a program, whose output is the file "out" or else its standard output.
func (x tool) run(args ...string) []byte {
	x.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = x.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		x.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	if out, err := os.ReadFile(filepath.Join(x.dir, "out")); err == nil {
		return out
	}
	return stdout
}

// openssl has openssl rewrite a file of testdata, with every cipher that it has.
func openssl(file string, args ...string) func(tool) []byte {
	return func(x tool) []byte {
		in := x.path("in", readFixture(x.t, file).data)
		command := append([]string{"openssl"}, args...)
		return x.run(append(command, "-in", in, "-out", "out", "-passout", "pass:"+fixturePassphrase,
			"-provider", "legacy", "-provider", "default")...)
	}
}

// traditional is a key encrypted under RFC 1421's headers.
func traditional(cipher string) func(tool) []byte {
	return openssl("rsa2048.pem", "rsa", "-traditional", "-"+cipher)
}

// modern is a key in PKCS#8 encrypted by PBES2, and old by what was before.
func modern(args ...string) func(tool) []byte {
	return openssl("rsa2048.pem", append([]string{"pkcs8", "-topk8", "-v2"}, args...)...)
}

func old(scheme string) func(tool) []byte {
	return openssl("rsa2048.pem", "pkcs8", "-topk8", "-v1", scheme)
}

// der is a key of testdata in DER.
func der(file string, args ...string) func(tool) []byte {
	return openssl(file, append(args, "-outform", "DER")...)
}

func asIs(file string) func(tool) []byte {
	return func(x tool) []byte { return readFixture(x.t, file).data }
}

// recommended says on which files the messages recommend a command. Where a limit is the
// matter, the file is within it, as deriving a key beyond it takes half a minute, and
// beyond makes it one that isn't.
var recommended = []struct {
	name, command string
	key           string // whose .pub is the public half
	file          func(tool) []byte
	beyond        func([]byte) []byte
	reason        string // in the message, before the command
}{
	{"Camellia under headers", opensslRewrite, "rsa2048", traditional("camellia-256-cbc"), nil, "the cipher CAMELLIA-256-CBC is not supported"},
	{"ARIA under headers", opensslRewrite, "rsa2048", traditional("aria-128-cbc"), nil, "the cipher ARIA-128-CBC is not supported"},
	{"AES in counter mode under headers", opensslRewrite, "rsa2048", traditional("aes-256-ctr"), nil, "the cipher AES-256-CTR is not supported"},
	{"AES with feedback under headers", opensslRewrite, "rsa2048", traditional("aes-128-cfb"), nil, "the cipher AES-128-CFB is not supported"},
	{"3DES with feedback under headers", opensslRewrite, "rsa2048", traditional("des-ede3-cfb"), nil, "the cipher DES-EDE3-CFB is not supported"},
	{"Blowfish under headers", opensslLegacy, "rsa2048", traditional("bf-cbc"), nil, "the cipher BF-CBC is not supported"},
	{"CAST under headers", opensslLegacy, "rsa2048", traditional("cast5-cbc"), nil, "the cipher CAST5-CBC is not supported"},
	{"SEED under headers", opensslLegacy, "rsa2048", traditional("seed-cbc"), nil, "the cipher SEED-CBC is not supported"},
	{"RC2 under headers", opensslLegacy, "rsa2048", traditional("rc2-cbc"), nil, "the cipher RC2-CBC is not supported"},
	{"DES with feedback under headers", opensslLegacy, "rsa2048", traditional("des-cfb"), nil, "the cipher DES-CFB is not supported"},

	{"Camellia in PKCS#8", opensslRewrite, "rsa2048", modern("camellia-256-cbc"), nil, "the cipher CAMELLIA-256-CBC is not supported"},
	{"ARIA in PKCS#8", opensslRewrite, "rsa2048", modern("aria-256-cbc"), nil, "the cipher ARIA-256-CBC is not supported"},
	{"AES with feedback in PKCS#8", opensslRewrite, "rsa2048", modern("aes-256-cfb"), nil, "the cipher AES-256-CFB is not supported"},
	{"DES in PKCS#8", opensslLegacy, "rsa2048", modern("des-cbc"), nil, "the cipher DES-CBC is not supported"},
	{"RC2 in PKCS#8", opensslLegacy, "rsa2048", modern("rc2-cbc"), nil, "the cipher RC2-CBC is not supported"},
	{"Blowfish in PKCS#8", opensslLegacy, "rsa2048", modern("bf-cbc"), nil, "the cipher BF-CBC is not supported"},
	{"PBKDF2 with MD5", opensslRewrite, "rsa2048", modern("aes-256-cbc", "-v2prf", "hmacWithMD5"), nil, "the hash hmacWithMD5 is not supported"},
	{"PBES1 with 3DES", opensslRewrite, "rsa2048", old("PBE-SHA1-3DES"), nil, "the encryption PBE-SHA1-3DES is not supported"},
	{"PBES1 with DES and MD5", opensslLegacy, "rsa2048", old("PBE-MD5-DES"), nil, "the encryption PBE-MD5-DES is not supported"},
	{"PBES1 with DES and SHA-1", opensslLegacy, "rsa2048", old("PBE-SHA1-DES"), nil, "the encryption PBE-SHA1-DES is not supported"},
	{"PBES1 with RC2", opensslLegacy, "rsa2048", old("PBE-SHA1-RC2-64"), nil, "the encryption PBE-SHA1-RC2-64 is not supported"},
	{"PBES1 with RC4", opensslLegacy, "rsa2048", old("PBE-SHA1-RC4-128"), nil, "the encryption PBE-SHA1-RC4-128 is not supported"},
	{
		"many PBKDF2 iterations", opensslRewrite, "rsa2048", modern("aes-256-cbc", "-iter", "9000000"),
		func(b []byte) []byte { return changeDER(b, "\x02\x04\x00\x89\x54\x40", "\x02\x04\x00\x99\x54\x40") },
		"number of PBKDF2 iterations is 10048576, beyond the limit of 10000000",
	},

	{"PKCS#1 in DER", opensslDER, "rsa2048", der("rsa2048.pem", "rsa", "-traditional"), nil, "not a private key file as text"},
	{"SEC 1 in DER", opensslDER, "p256", der("p256.pem", "ec"), nil, "not a private key file as text"},
	{"PKCS#8 in DER", opensslDER, "p521", der("p521.pem", "pkcs8", "-topk8", "-nocrypt"), nil, "not a private key file as text"},
	{"PKCS#8 of 48 bytes in DER", opensslDER, "edossl", der("edossl.pkcs8", "pkcs8", "-topk8", "-nocrypt"), nil, "not a private key file as text"},
	{"encrypted PKCS#8 in DER", opensslDER, "rsa2048", der("rsa2048.pem", "pkcs8", "-topk8"), nil, "not a private key file as text"},
	{"PKCS#12", opensslPKCS12, "rsa2048", pkcs12(), nil, "PKCS#12 is not supported"},
	{"PKCS#12 as it was written for long", opensslPKCS12, "rsa2048", pkcs12("-legacy"), nil, "PKCS#12 is not supported"},
	{"a curve given by its parameters", opensslCurve, "p256", asIs("p256.pem-explicit"), nil, "a curve given by its parameters is not supported"},

	{
		"many bcrypt rounds", keygenRounds, "p256", asIs("p256.openssh.rounds"),
		func(b []byte) []byte { return changeDER(b, "\x00\x00\x00\x28", "\x00\x00\x28\x28") },
		"number of bcrypt rounds is 10280, beyond the limit of 4096",
	},
	{"ssh.com's format", puttyOpenSSH, "rsa2048", asIs("rsa2048.sshcom"), nil, "the format of ssh.com and Tectia is not supported"},
	{"Argon2d", puttyRewrite, "ed25519", asIs("ed25519.ppk3.argon2d"), nil, "Argon2d is not supported"},
	{".ppk version 1", puttyRewrite, "ed25519", ppkVersion1, nil, ".ppk version 1 is not supported"},
	{
		"much memory for Argon2", puttyRewrite, "ed25519", asIs("ed25519.ppk3.argon2id"),
		func(b []byte) []byte {
			return bytes.Replace(b, []byte("Argon2-Memory: 8192\n"), []byte("Argon2-Memory: 2097152\n"), 1)
		},
		"Argon2-Memory in KiB is 2097152, beyond the limit of 1048576",
	},
}

// ppkVersion1 is a .ppk of 2000, whose hash covers the private half alone.
func ppkVersion1(x tool) []byte {
	text := readFixture(x.t, "ed25519.ppk2").data
	lines := ppkLines{rest: text[bytes.Index(text, []byte("Private-Lines")):]}
	text = text[:bytes.Index(text, []byte("Private-MAC"))]
	text = bytes.Replace(text, []byte("File-2"), []byte("File-1"), 1)
	return fmt.Appendf(text, "Private-Hash: %x\n", sumSHA1(lines.blob("Private-Lines")))
}

func pkcs12(args ...string) func(tool) []byte {
	return func(x tool) []byte {
		in := x.path("in", readFixture(x.t, "rsa2048.pem").data)
		command := []string{"openssl", "pkcs12", "-export", "-nocerts", "-inkey", in, "-out", "out", "-passout", "pass:" + fixturePassphrase}
		return x.run(append(command, args...)...)
	}
}

// answers are options that give a program the passphrases it would ask for.
func answers(program string) []string {
	switch program {
	case "openssl":
		return []string{"-passin", "pass:" + fixturePassphrase, "-passout", "pass:" + fixturePassphrase}
	case "ssh-keygen":
		return []string{"-q", "-P", fixturePassphrase, "-N", fixturePassphrase}
	}
	return []string{"--old-passphrase", "pass", "--new-passphrase", "pass"}
}

// TestRecommendedCommands runs each command that a message recommends, on a file that the
// message is about, and imports the result.
func TestRecommendedCommands(t *testing.T) {
	for _, c := range recommended {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newTool(t)
			file := c.file(x)
			refused := file
			if c.beyond != nil {
				if refused = c.beyond(file); bytes.Equal(refused, file) {
					t.Fatal("the file wasn't changed")
				}
			}
			k, err := Parse(refused, never(t))
			if k != nil || err == nil || !strings.HasPrefix(err.Error(), c.reason) || !strings.HasSuffix(err.Error(), c.command) {
				t.Fatalf("got %v\nwant %s: … %s", err, c.reason, c.command)
			}
			path, made := x.path("file", file), filepath.Join(x.dir, "new")
			args := strings.Fields(c.command)
			for i, arg := range args {
				switch arg {
				case "FILE":
					args[i] = path
				case "NEW":
					args[i] = made
				case "COPY":
					args[i], made = path, path
				}
			}
			if err := os.RemoveAll(filepath.Join(x.dir, "out")); err != nil {
				t.Fatal(err)
			}
			x.run(append(args, answers(args[0])...)...)
			out, err := os.ReadFile(made)
			if err != nil {
				t.Fatal(err)
			}
			f := fixture{name: c.key}
			want, _ := f.public(t)
			got := mustParse(t, out, passphrase(fixturePassphrase))
			if !bytes.Equal(got.Public(), want) {
				t.Error("another key")
			}
		})
	}
}

// TestEveryCommandIsRun finds the commands in this package's texts and in docs/import.md:
// TestRecommendedCommands must run each.
func TestEveryCommandIsRun(t *testing.T) {
	command := regexp.MustCompile(`(openssl|ssh-keygen|puttygen) [^"` + "`" + `]*\b(FILE|COPY|NEW)\b[^"` + "`" + `]*`)
	var found []string
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					found = append(found, command.FindAllString(s, -1)...)
				}
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatal("no command found")
	}
	page, err := os.ReadFile("../../docs/import.md")
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, command.FindAllString(string(page), -1)...)
	var run []string
	for _, c := range recommended {
		run = append(run, c.command)
		if !slices.Contains(found, c.command) {
			t.Errorf("no message recommends %s", c.command)
		}
	}
	for _, f := range found {
		if !slices.Contains(run, f) {
			t.Errorf("no test runs %s", f)
		}
	}
}
