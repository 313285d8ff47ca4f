package attack

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/testing/sshtest"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// TestARemovedMemberForgesItems: promise 9. Who was a member knows the DEKs of that
// time, and they stay. Whoever writes to the vault file then seals a line of their
// own for a revision that exists: with their key, and without `confirm`.
func TestARemovedMemberForgesItems(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "member")
	owner.OK("edit", "shared", "--confirm")
	other.TakeVaultFile(owner)
	other.OK("refresh")
	insider := other.Inside(dir, memberPassphrase)
	genuine := lineOf(t, owner)
	dek := insider.DEK(genuine.Revision)
	public, secret := theirKey(t)
	forged := insider.Forge(genuine, dek, vaultfile.Meta{Name: "shared", Comment: "shared", Created: 1, Public: public}, secret)
	owner.OK(owner.By("identity", "remove", "other", "--yes")...)

	header := vaultfile.Header(owner.VaultID())
	for _, attack := range []struct {
		name   string
		before func()
		file   func() []byte
		seen   bool // as a fault; a line beside the genuine one changes nothing
	}{
		{"beside the genuine line", func() {}, func() []byte { return slices.Concat(header, forged.Line(), genuine.Line()) }, false},
		{"in its place", func() {}, func() []byte { return slices.Concat(header, forged.Line()) }, true},
		{"in place of a line with a new DEK", func() {
			putFile(t, owner, slices.Concat(header, genuine.Line()))
			owner.OK("refresh")
			owner.OK(owner.By("rotate", "--deks")...)
		}, func() []byte { return slices.Concat(header, forged.Line()) }, true},
	} {
		attack.before()
		putFile(t, owner, attack.file())
		for _, when := range []string{"at once", "after a restart"} {
			if when == "at once" {
				owner.OK("refresh")
			} else {
				owner.Restart()
				owner.Unlock()
			}
			if keys, err := owner.Client().List(); err != nil || slices.ContainsFunc(keys, func(k *agent.Key) bool { return bytes.Equal(k.Blob, public) }) {
				t.Errorf("%s, %s: the forged key is listed (%v)", attack.name, when, err)
			}
			if owner.Sign("shared") == nil {
				t.Errorf("%s, %s: a key that asks at each use signs without", attack.name, when)
			}
			if !attack.seen {
				continue
			}
			if r := owner.Vigilctl("vault", "verify"); r.Status == 0 || !strings.Contains(r.String(), "not the one that was saved") && !strings.Contains(r.String(), "not in the vault file") {
				t.Errorf("%s, %s: vault verify says %s", attack.name, when, r)
			}
			if v := owner.Vault(); len(v.Missing) == 0 && len(v.Damaged) == 0 {
				t.Errorf("%s, %s: status shows nothing", attack.name, when)
			}
		}
	}
}

// lineOf is the one line of a home's vault file.
func lineOf(t *testing.T, h *sshtest.Home) vaultfile.Revision {
	t.Helper()
	f, err := vaultfile.Parse(h.Read(h.VaultFile()), h.VaultID())
	if err != nil || len(f.Lines()) != 1 {
		t.Fatalf("%d lines, %v", len(f.Lines()), err)
	}
	return f.Lines()[0].Decode()
}

// putFile puts a vault file in place, as good sync tools do.
func putFile(t *testing.T, h *sshtest.Home, data []byte) {
	t.Helper()
	next := h.Write("next", string(data))
	if err := os.Rename(next, h.VaultFile()); err != nil {
		t.Fatal(err)
	}
}

// theirKey is an attacker's key: its public blob, and the private key in
// SSH_AGENTC_ADD_IDENTITY's encoding.
func theirKey(t *testing.T) (public, secret []byte) {
	t.Helper()
	pub, private, err := ed25519Key()
	if err != nil {
		t.Fatal(err)
	}
	public = wire.AppendString(wire.AppendString(nil, []byte("ssh-ed25519")), pub)
	return public, wire.AppendString(slices.Clone(public), private)
}
