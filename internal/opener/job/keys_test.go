package job_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyfile"
	"vigil/internal/opener"
	"vigil/internal/vaultfile"
)

// newKey returns a new key's encoding and public blob.
func newKey(t *testing.T, kind string, bits int) (encoding, public []byte) {
	t.Helper()
	k, err := keyfile.Generate(kind, bits, "")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	return bytes.Clone(k.Encoding()), k.Public()
}

func keyFile(t *testing.T, encoding []byte, pass string) string {
	t.Helper()
	var p []byte
	if pass != "" {
		p = []byte(pass)
	}
	text, err := keyfile.MarshalOpenSSH(encoding, "alice@laptop", p)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestImport(t *testing.T) {
	encoding, public := newKey(t, keyfile.KindECDSA, 256)
	plain, locked := keyFile(t, encoding, ""), keyFile(t, encoding, "key secret")
	pub, err := ssh.ParsePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	const none = "(none)"
	for _, tt := range []struct {
		name, file, pass string
		want             opener.Kind
	}{
		{"plain", plain, none, ""},
		{"plain, with a passphrase nobody needs", plain, "key secret", ""},
		{"locked", locked, "key secret\n", ""},
		{"locked, without passphrase", locked, none, opener.KeyPassphrase},
		{"locked, with the wrong one", locked, "another", opener.KeyPassphrase},
		{"locked, with an empty one", locked, "\n", opener.BadInput},
		{"public key", string(ssh.MarshalAuthorizedKey(pub)), none, opener.BadKeyFile},
		{"no key", "hello\n", none, opener.BadKeyFile},
		{"nothing", "", none, opener.BadKeyFile},
		{"cut", plain[:len(plain)/2], none, opener.BadKeyFile},
		{"too large", strings.Repeat(plain, 1000), none, opener.BadInput},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t)
			h.place.Vault = id.Vault{1}
			end, got := h.keyKeeper(nil)
			req := &opener.Import{Vault: h.place.Vault, Key: 1, Keeper: 2}
			files := []*os.File{input(t, tt.file), end}
			if tt.pass != none {
				req.Passphrase = 3
				files = append(files, input(t, tt.pass))
			}
			reply, err := ask(h, req, files...)
			_ = end.Close()
			wantKind(t, err, tt.want)
			r := <-got
			if tt.want != "" {
				if r.err == nil || strings.Contains(err.Error(), "key secret") {
					t.Fatalf("keeper got %d bytes; error %q", len(r.secret), err)
				}
				return
			}
			if !bytes.Equal(r.secret, encoding) || !bytes.Equal(reply.Public, public) || reply.Comment != "alice@laptop" {
				t.Fatalf("imported %+v", reply)
			}
		})
	}
}

func TestGenerate(t *testing.T) {
	for _, tt := range []struct {
		kind string
		bits int
		typ  string
		want opener.Kind
	}{
		{"ed25519", 0, "ssh-ed25519", ""},
		{"ecdsa", 384, "ecdsa-sha2-nistp384", ""},
		{"rsa", 2048, "ssh-rsa", ""},
		{"mldsa44-ed25519", 0, "ssh-mldsa44-ed25519", ""},
		{"rsa", 1024, "", opener.BadInput},
		{"dsa", 0, "", opener.BadInput},
		{"ecdsa", 255, "", opener.BadInput},
	} {
		t.Run(tt.kind+tt.typ, func(t *testing.T) {
			h := newHome(t)
			h.place.Vault = id.Vault{1}
			end, got := h.keyKeeper(nil)
			reply, err := ask(h, &opener.Generate{Vault: h.place.Vault, Type: tt.kind, Bits: tt.bits, Comment: "c", Keeper: 1}, end)
			_ = end.Close()
			wantKind(t, err, tt.want)
			if r := <-got; (r.err == nil) != (tt.want == "") {
				t.Fatalf("keeper got %d bytes, %v", len(r.secret), r.err)
			}
			if tt.want == "" && (reply.Type != tt.typ || reply.Comment != "c") {
				t.Fatalf("generated %+v", reply)
			}
		})
	}
}

func TestAKeeperThatDoesNotTakeTheKey(t *testing.T) {
	h := newHome(t)
	h.place.Vault = id.Vault{1}
	generate := &opener.Generate{Vault: h.place.Vault, Type: "ed25519", Keeper: 1}
	end, _ := h.keyKeeper(errors.New("no room"))
	_, err := ask(h, generate, end)
	wantKind(t, err, opener.KeeperRefused)
	gone, _ := h.keeperEnd(func(rw io.ReadWriter, _ *guard.Slab) received { return received{err: rw.(io.Closer).Close()} })
	_, err = ask(h, generate, gone)
	wantKind(t, err, opener.KeeperRefused)
}

func TestExport(t *testing.T) {
	h := newHome(t)
	h.founded()
	encoding, public := newKey(t, keyfile.KindEd25519, 0)
	line := h.item(encoding, public)
	r, err := vaultfile.ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	unknown, moved, damaged := r, r, r
	unknown.Revision, moved.Item = id.NewRevision(), id.NewItem()
	damaged.Secret = bytes.Clone(r.Secret)
	damaged.Secret[100] ^= 1
	for _, tt := range []struct {
		name, pass, newPass string
		line                []byte
		want                opener.Kind
	}{
		{"with a passphrase", passphrase, "file secret", line, ""},
		{"without", passphrase, "", line, ""},
		{"with an empty one", passphrase, "\n", line, opener.BadInput},
		{"wrong passphrase", "wrong", "", line, opener.WrongPassphrase},
		{"a revision nobody made", passphrase, "", unknown.Line(), opener.Damaged},
		{"another item's revision", passphrase, "", moved.Line(), opener.Damaged},
		{"a damaged line", passphrase, "", damaged.Line(), opener.Damaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			req := &opener.Export{Place: h.place, Passphrase: 1, Output: 2, Line: tt.line}
			files := []*os.File{input(t, tt.pass), out}
			if tt.newPass != "" {
				req.NewPassphrase = 3
				files = append(files, input(t, tt.newPass))
			}
			_, err = ask(h, req, files...)
			wantKind(t, err, tt.want)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != "" {
				if len(text) > 0 {
					t.Fatalf("wrote %d bytes", len(text))
				}
				return
			}
			var signer ssh.Signer
			if tt.newPass == "" {
				signer, err = ssh.ParsePrivateKey(text)
			} else {
				signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(tt.newPass))
			}
			if err != nil || !bytes.Equal(signer.PublicKey().Marshal(), public) {
				t.Fatalf("the file isn't the key: %v", err)
			}
		})
	}
	t.Run("a full disk", func(t *testing.T) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip(err)
		}
		defer full.Close()
		_, err = ask(h, &opener.Export{Place: h.place, Passphrase: 1, Output: 2, Line: line}, input(t, passphrase), full)
		wantKind(t, err, opener.Failed)
	})
	t.Run("no line", func(t *testing.T) {
		_, err := ask(h, &opener.Export{Place: h.place, Passphrase: 1, Output: 2, Line: []byte("{}")}, input(t, passphrase), input(t, ""))
		if err == nil {
			t.Fatal("exported")
		}
	})
}
