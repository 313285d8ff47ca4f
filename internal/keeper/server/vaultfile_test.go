package server

import (
	"slices"
	"testing"

	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// TestTheVaultFileMayComeInParts: whole before the identity, in changes later; a
// keeper doesn't use it before a Load.
func TestTheVaultFileMayComeInParts(t *testing.T) {
	w := newWorld(t, ed25519Key(t), ed25519Key(t))
	vault := w.Vault()
	c := start(t, vault)
	before := must(vaultfile.Parse(w.Objects().File, w.Vault()))(t)
	if err := c.GiveFile(t.Context(), w.Objects().File); err != nil {
		t.Fatal(err)
	}
	if err := handIdentity(t, c, w.Vault(), w.Owner); err != nil {
		t.Fatal(err)
	}
	o := w.Objects()
	l := must(c.Load(t.Context(), keeper.Known{}, o.Members, o.Deks, keyring.Update{}))(t)
	first, second := number(t, l, w.items[0].Line.Revision), number(t, l, w.items[1].Line.Revision)

	without := vaultfile.New(w.Vault()).Add(w.items[0].Line)
	if err := c.ChangeFile(t.Context(), before.Index().Delta(without)); err != nil {
		t.Fatal(err)
	}
	signsWith(t, c, second, w.keys[1])
	must(c.Load(t.Context(), keeper.Known{}, o.Members, o.Deks, keyring.Update{}))(t)
	wantErr(t, sign(t, c, second), keeper.ErrNoKey)
	signsWith(t, c, first, w.keys[0])

	if err := c.ChangeFile(t.Context(), without.Index().Delta(before)); err != nil {
		t.Fatal(err)
	}
	l = must(c.Load(t.Context(), keeper.Known{}, o.Members, o.Deks, keyring.Update{}))(t)
	signsWith(t, c, number(t, l, w.items[1].Line.Revision), w.keys[1])
}

// TestVaultFilesThatAreRefused: the earlier file stays.
func TestVaultFilesThatAreRefused(t *testing.T) {
	w := newWorld(t, ed25519Key(t))
	c, l := opened(t, w)
	number := number(t, l, w.items[0].Line.Revision)
	for name, give := range map[string]func() error{
		"nothing":           func() error { return c.GiveFile(t.Context(), nil) },
		"another vault's":   func() error { return c.GiveFile(t.Context(), vaultfile.Header(id.Vault{9})) },
		"not a file":        func() error { return c.GiveFile(t.Context(), []byte("hello\n")) },
		"beyond its end":    func() error { return c.ChangeFile(t.Context(), vaultfile.Delta{Drop: []int{7}}) },
		"an unreadable one": func() error { return c.ChangeFile(t.Context(), vaultfile.Delta{Add: [][]byte{[]byte("x")}}) },
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, give(), keeper.ErrDamaged) })
	}
	o := w.Objects()
	must(c.Load(t.Context(), keeper.Known{}, o.Members, o.Deks, keyring.Update{}))(t)
	signsWith(t, c, number, w.keys[0])
}

// TestWithoutAVaultFile nothing is loaded, and a keeper of added keys takes no file.
func TestWithoutAVaultFile(t *testing.T) {
	w := newWorld(t, ed25519Key(t))
	c := unlocked(t, w, w.Owner)
	wantErr(t, c.ChangeFile(t.Context(), vaultfile.Delta{}), keeper.ErrRefused)
	o := w.Objects()
	_, err := c.Load(t.Context(), keeper.Known{}, o.Members, o.Deks, keyring.Update{})
	wantErr(t, err, keeper.ErrRefused)
	wantErr(t, start(t, id.Vault{}).GiveFile(t.Context(), slices.Clone(o.File)), keeper.ErrRefused)
}
