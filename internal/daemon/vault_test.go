package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"vigil/internal/control"
	"vigil/internal/keyfile"
)

// TestAVaultsLife: what a person does with a vault, once.
func TestAVaultsLife(t *testing.T) {
	dev := newDevice(t)
	_, err := send(dev, &control.UnlockRequest{Passphrase: text(t, passphrase)})
	wantCode(t, err, control.CodeNotFound)
	must(dev, &control.InitRequest{KDF: cheap, Passphrase: text(t, passphrase)})
	if s := dev.status(); s.State != control.VaultLocked {
		t.Fatalf("a new vault is %+v", s)
	}
	_, err = send(dev, &control.GenerateRequest{Name: "work", Type: "ed25519"})
	wantCode(t, err, control.CodeLocked)
	dev.unlock()
	if r := must(dev, &control.UnlockRequest{Passphrase: text(t, "not even looked at")}); !r.AlreadyUnlocked {
		t.Fatal("unlocked twice")
	}

	work := dev.generate("work")
	if work.Type != "ssh-ed25519" || work.Name != "work" || work.Vault != "default" {
		t.Fatalf("generated %+v", work)
	}
	_, err = send(dev, &control.GenerateRequest{Name: "work", Type: "ed25519"})
	wantCode(t, err, control.CodeExists)
	_, err = send(dev, &control.GenerateRequest{Name: "x", Type: "dsa"})
	wantCode(t, err, control.CodeUsage)
	_, err = send(dev, &control.GenerateRequest{Name: "with space", Type: "ed25519"})
	wantCode(t, err, control.CodeUsage)
	keys := dev.listed()
	if len(keys) != 1 || keys[0].Type() != "ssh-ed25519" {
		t.Fatalf("the agent lists %v", keys)
	}
	if err := sign(dev.agent(), keys[0]); err != nil {
		t.Fatal(err)
	}

	name, comment, confirm := "job", "alice@laptop", false
	hosts, tags := []string{"*.example.com"}, []string{"a", "b"}
	edited := must(dev, &control.EditRequest{Key: "work", Name: &name, Comment: &comment, Hosts: &hosts, Tags: &tags, Confirm: &confirm}).Key
	if edited.ID != work.ID || edited.Revision == work.Revision || edited.Name != name || edited.Comment != comment ||
		!slices.Equal(edited.Hosts, hosts) || !slices.Equal(edited.Tags, tags) || edited.Fingerprint != work.Fingerprint {
		t.Fatalf("edited %+v", edited)
	}
	if err := sign(dev.agent(), dev.listed()[0]); err != nil {
		t.Fatalf("after an edit: %v", err)
	}
	for _, key := range []string{"job", work.ID[:6], work.Fingerprint} {
		if got := must(dev, &control.ShowRequest{Key: key}).Key; got.ID != work.ID {
			t.Fatalf("show %s: %+v", key, got)
		}
	}
	_, err = send(dev, &control.ShowRequest{Key: "work"})
	wantCode(t, err, control.CodeNotFound)

	exportsWhatWasMade(t, dev, work)

	must(dev, &control.RemoveRequest{Key: "job", Passphrase: text(t, passphrase)})
	if names := dev.names(); len(names) != 0 || len(dev.listed()) != 0 {
		t.Fatalf("left: %v", names)
	}
	_, err = send(dev, &control.RemoveRequest{Key: "job", Passphrase: text(t, passphrase)})
	wantCode(t, err, control.CodeNotFound)
}

func exportsWhatWasMade(t *testing.T, dev *device, key control.Key) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	_, err = send(dev, &control.ExportRequest{Key: key.ID, Passphrase: text(t, "wrong"), NewPassphrase: text(t, "file secret"), Output: out})
	wantCode(t, err, control.CodeWrongPassphrase)
	_, err = send(dev, &control.ExportRequest{Key: key.ID, Passphrase: text(t, passphrase), Output: out})
	wantCode(t, err, control.CodeUsage) // plaintext needs --no-passphrase
	if written, err := os.ReadFile(path); err != nil || len(written) != 0 {
		t.Fatalf("%d bytes were written, %v", len(written), err)
	}
	must(dev, &control.ExportRequest{Key: key.ID, Passphrase: text(t, passphrase), NewPassphrase: text(t, "file secret"), Output: out})
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKeyWithPassphrase(written, []byte("file secret"))
	if err != nil || ssh.FingerprintSHA256(signer.PublicKey()) != key.Fingerprint {
		t.Fatalf("exported %v, %v", signer, err)
	}
	if r := dev.why(); !strings.Contains(r[0], "wrong passphrase") {
		t.Fatalf("why says %q", r)
	}
}

func TestImportedKeys(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	k, err := keyfile.Generate("ecdsa", 256, "")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	file, err := keyfile.MarshalOpenSSH(k.Encoding(), "bob@desk", []byte("key secret"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(req control.AddRequest) (*control.AddReply, error) {
		req.KeyFile = text(t, string(file))
		return send(dev, &req)
	}
	_, err = add(control.AddRequest{})
	wantCode(t, err, control.CodeKeyPassphrase)
	_, err = add(control.AddRequest{KeyPassphrase: text(t, "wrong")})
	wantCode(t, err, control.CodeKeyPassphrase)
	r, err := add(control.AddRequest{KeyPassphrase: text(t, "key secret")})
	if err != nil || r.Key.Name != "bob@desk" || r.Key.Fingerprint != k.Fingerprint() {
		t.Fatalf("imported %+v, %v", r, err)
	}
	_, err = add(control.AddRequest{Name: "again", KeyPassphrase: text(t, "key secret")})
	wantCode(t, err, control.CodeExists)
	if err := sign(dev.agent(), dev.listed()[0]); err != nil {
		t.Fatal(err)
	}
	// A refused request leaves nothing in the keeper: many more succeed.
	plain, err := keyfile.MarshalOpenSSH(k.Encoding(), "bob@desk", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		_, err := send(dev, &control.AddRequest{Name: "again", KeyFile: text(t, string(plain))})
		wantCode(t, err, control.CodeExists)
	}
	dev.generate("another")
}

// TestLockedVaultsListFromTheCache, from the daemon's start, unless it is turned off.
func TestLockedVaultsListFromTheCache(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	key := dev.generate("work")
	blob := dev.listed()[0].Blob
	check := func(when string) {
		t.Helper()
		keys := dev.listed()
		if len(keys) != 1 || !bytes.Equal(keys[0].Blob, blob) {
			t.Fatalf("%s: the agent lists %v", when, keys)
		}
		if err := sign(dev.agent(), keys[0]); err == nil {
			t.Fatalf("%s: a locked vault signs", when)
		}
		if r := dev.why(); len(r) == 0 || !strings.Contains(r[0], "locked") {
			t.Fatalf("%s: why says %q", when, r)
		}
		got := must(dev, &control.ListRequest{}).Keys
		if len(got) != 1 || got[0].Name != "work" || got[0].State != control.KeyLocked || got[0].Fingerprint != key.Fingerprint {
			t.Fatalf("%s: %+v", when, got)
		}
	}
	if r := dev.lock(); !slices.Equal(r.Locked, []string{"default"}) {
		t.Fatalf("locked %v", r.Locked)
	}
	check("locked")
	if r := dev.lock(); len(r.Locked) != 0 {
		t.Fatalf("locked again %v", r.Locked)
	}
	dev.end()
	dev.start()
	check("restarted")
	dev.unlock()
	if err := sign(dev.agent(), dev.listed()[0]); err != nil {
		t.Fatal(err)
	}

	dev.end()
	dev.configure("[vault.default]\npublic_cache = false\n")
	dev.start()
	if keys := dev.listed(); len(keys) != 0 {
		t.Fatalf("public_cache is off, and %d keys are listed", len(keys))
	}
	dev.unlock()
	if len(dev.listed()) != 1 {
		t.Fatal("unlocked, it isn't listed")
	}
	dev.lock()
	if keys := dev.listed(); len(keys) != 0 {
		t.Fatalf("public_cache is off, and %d keys are listed after a lock", len(keys))
	}
	dev.end()
	err := filepath.WalkDir(dev.paths.State, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), strings.Fields(key.PublicKey)[1]) || strings.Contains(string(data), "\"work\"") {
			t.Errorf("%s has the public key or its name in it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("work")
	before, err := os.ReadFile(dev.paths.Vault("default"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = send(dev, &control.InitRequest{KDF: cheap, Backend: "file:///elsewhere", Passphrase: text(t, "another one")})
	wantCode(t, err, control.CodeExists)
	after, err := os.ReadFile(dev.paths.Vault("default"))
	if err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the vault file has changed: %v", err)
	}
	dev.lock()
	dev.unlock() // with the earlier backend
	if names := dev.names(); !slices.Equal(names, []string{"work"}) {
		t.Fatalf("listed %v", names)
	}
	_, err = send(dev, &control.InitRequest{Vault: "Not A Name", KDF: cheap, Passphrase: text(t, passphrase)})
	wantCode(t, err, control.CodeUsage)
	_, err = send(dev, &control.InitRequest{Vault: "second", KDF: control.KDF{MemoryMiB: 1}, Passphrase: text(t, passphrase)})
	wantCode(t, err, control.CodeUsage)
}

// TestAnInitThatFailedLeavesNoPlaceBehind: the next init uses the defaults.
func TestAnInitThatFailedLeavesNoPlaceBehind(t *testing.T) {
	dev := newDevice(t)
	for _, req := range []control.InitRequest{{Backend: "ftp://nowhere"}, {Master: "tpm:"}, {Backend: "file:///dev/null/x"}} {
		req.KDF, req.Passphrase = cheap, text(t, passphrase)
		if _, err := send(dev, &req); err == nil {
			t.Fatalf("made a vault with %+v", req)
		}
	}
	dev.init("")
	if s := dev.status(); s.State != control.VaultUnlocked || s.Backend != "file" || s.Master != "local" {
		t.Fatalf("made %+v", s)
	}
	dev.generate("work")
}

func TestTwoVaultsOfOneDaemon(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.init("second")
	dev.generate("one")
	must(dev, &control.GenerateRequest{Vault: "second", Name: "two", Type: "ed25519"})
	if names := dev.names(); !slices.Equal(names, []string{"one", "two"}) {
		t.Fatalf("listed %v", names)
	}
	must(dev, &control.LockRequest{Vault: "second"})
	a := dev.agent()
	keys := dev.listed()
	if len(keys) != 2 || sign(a, keys[0]) != nil || sign(a, keys[1]) == nil {
		t.Fatalf("of %d keys, the first vault's should sign and the second one's not", len(keys))
	}

	// Replace this vault's file with the other's.
	dev.lock()
	mine, theirs := dev.paths.Vault("default"), dev.paths.Vault("second")
	good, err := os.ReadFile(mine)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	put := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(mine, other)
	err = dev.unlockWith(passphrase)
	wantCode(t, err, control.CodeRefused)
	if !strings.Contains(err.Error(), mine) {
		t.Fatalf("doesn't name the file: %v", err)
	}
	put(mine, good)
	dev.unlock()
	put(mine, other) // while it is unlocked: what was loaded stays usable
	if r := must(dev, &control.RefreshRequest{Vault: "default"}).Vaults[0]; r.Error == nil {
		until(t, "the refusal of another vault's file", func() bool {
			return slices.ContainsFunc(dev.why(), func(r string) bool { return strings.Contains(r, mine) })
		})
	}
	if err := sign(dev.agent(), dev.listed()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := send(dev, &control.GenerateRequest{Vault: "default", Name: "three", Type: "ed25519"}); err == nil {
		t.Fatal("wrote to another vault's file")
	}
	if now, err := os.ReadFile(mine); err != nil || !bytes.Equal(now, other) {
		t.Fatalf("what can't be read was overwritten: %v", err)
	}
}

// TestDamagedLines are named, kept byte for byte, and don't affect others.
func TestDamagedLines(t *testing.T) {
	dev := newDevice(t)
	dev.init("")
	dev.generate("good")
	dev.generate("bad")
	dev.lock()
	path := dev.paths.Vault("default")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	badID := must(dev, &control.ShowRequest{Key: "bad"}).Key.ID
	lines := bytes.SplitAfter(data, []byte("\n"))
	for i, line := range lines {
		if bytes.Contains(line, []byte(badID)) {
			at := bytes.Index(line, []byte(`"meta":"`)) + 200
			lines[i] = bytes.Clone(line)
			lines[i][at] ^= 'a' ^ 'b'
			if lines[i][at] == '"' || lines[i][at] < '0' {
				lines[i][at] = 'A'
			}
		}
	}
	garbage := []byte("this is no line\n")
	if err := os.WriteFile(path, append(bytes.Join(lines, nil), garbage...), 0o600); err != nil {
		t.Fatal(err)
	}
	dev.unlock()
	s := dev.status()
	all := strings.Join(s.Damaged, "\n")
	if s.State != control.VaultUnlocked || !strings.Contains(all, "line 4") || !strings.Contains(all, badID) {
		t.Fatalf("%s, damaged: %q", s.State, s.Damaged)
	}
	signing := 0
	for _, k := range dev.listed() {
		if sign(dev.agent(), k) == nil {
			signing++
		}
	}
	if signing != 1 {
		t.Fatalf("%d keys sign, want the good one", signing)
	}
	dev.generate("later")
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(after, garbage) || !bytes.Contains(after, []byte(badID)) {
		t.Fatalf("what can't be read was dropped: %v", err)
	}
	if err := os.WriteFile(path, []byte("nothing of a vault\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dev.lock()
	err = dev.unlockWith(passphrase)
	wantCode(t, err, control.CodeDamaged)
}
