package sshtest

import (
	"os"
	"path/filepath"
	"testing"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// NewShared makes a folder for a keyring that several homes of this machine share.
func NewShared(t testing.TB) (uri, dir string) {
	t.Helper()
	dir = NewDir(t)
	return "file://" + dir, dir
}

// Found makes and unlocks the default vault in this home, with a backend and a master
// key; "" means the local one.
func (h *Home) Found(backend, master string) {
	h.Helper()
	args := append(h.By("init", "--unlock"), CheapKDF...)
	if backend != "" {
		args = append(args, "--backend", backend)
	}
	if master != "" {
		args = append(args, "--master", master)
	}
	h.OK(args...)
}

// VaultID returns the id in the default vault's file.
func (h *Home) VaultID() id.Vault {
	h.Helper()
	f, err := vaultfile.Parse(h.Read(h.VaultFile()), id.Vault{})
	if err != nil {
		h.Fatal(err)
	}
	return f.Vault()
}

// Stored reads the default vault's keyring from a folder.
func (h *Home) Stored(dir string) (*keyring.Members, *keyring.Deks) {
	h.Helper()
	members, err := keyring.ParseMembers(h.Read(filepath.Join(dir, "members")), h.VaultID())
	if err != nil {
		h.Fatal(err)
	}
	deks, err := keyring.ParseDeks(h.Read(filepath.Join(dir, "deks")), h.VaultID())
	if err != nil {
		h.Fatal(err)
	}
	return members, deks
}

// Request requests admission for this home, and returns vigilctl's output.
func (h *Home) Request(args ...string) (r control.IdentityRequestReply) {
	h.Helper()
	h.JSON(&r, append(append(h.By("identity", "request"), CheapKDF...), args...)...)
	return r
}

// Admit admits the identity of a request.
func (h *Home) Admit(r control.IdentityRequestReply, role string) {
	h.Helper()
	h.OK(h.By("identity", "admit", h.Write("request", r.Text), "--words", r.Words, "--role", role)...)
}

// PutObject replaces a keyring's object in a folder, as the folder's owner can.
func (h *Home) PutObject(dir, object string, data []byte) {
	h.Helper()
	path := filepath.Join(dir, object)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		h.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		h.Fatal(err)
	}
}
