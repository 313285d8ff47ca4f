package aws

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	derive "vigil/internal/passphrase"
	"vigil/internal/testing/awsfake"
	"vigil/internal/vaultfile"
)

// parts are all that it takes to open a vault, as somebody has them who got
// hold of each. byhand_test.go goes down the hierarchy of docs/vault-format.md
// without any of Vigil's processes.
type parts struct {
	vault         []byte // the file
	members, deks []byte // the keyring
	passphrase    string
	share         []byte // what KMS answers
}

// opened is every secret of a vault.
type opened struct {
	halves []byte   // the identity's private halves
	keks   [][]byte // every version
	deks   [][]byte
	meta   [][]byte // metadata of the items
	items  [][]byte // private keys
}

// open opens a vault. The first check of format or chain that fails is its
// error: an attacker would skip those, so what counts is what envelope refuses.
func (p parts) open() (o opened, err error) {
	file, err := vaultfile.Parse(p.vault, id.Vault{})
	if err != nil {
		return o, err
	}
	members, err := keyring.ParseMembers(p.members, file.Vault())
	if err != nil {
		return o, err
	}
	me := members.Identities()[0]
	if o.halves, err = p.openHalves(members); err != nil {
		return o, err
	}
	halves, err := envelope.NewHalves(me.ID, o.halves)
	if err != nil {
		return o, err
	}
	keks := map[uint64][]byte{}
	for _, version := range members.KEKs() {
		seal, _ := members.Seal(version, me.ID)
		kek := make([]byte, envelope.KeySize)
		if err := halves.OpenKEK(kek, seal, file.Vault()); err != nil {
			return o, fmt.Errorf("KEK %d: %w", version, err)
		}
		keks[version], o.keks = kek, append(o.keks, kek)
	}
	deks, err := keyring.ParseDeks(p.deks, file.Vault())
	if err != nil {
		return o, err
	}
	for _, line := range file.Lines() {
		r := line.Decode()
		if err := o.openItem(&r, deks, keks, file.Vault()); err != nil {
			return o, err
		}
	}
	if len(o.items) == 0 {
		return o, errors.New("there is no item")
	}
	return o, nil
}

// openHalves needs both factors.
func (p parts) openHalves(members *keyring.Members) ([]byte, error) {
	me := members.Identities()[0]
	block, _ := members.Unlock(me.ID)
	stretched, unlockKey := make([]byte, envelope.KeySize), make([]byte, envelope.KeySize)
	var d derive.Deriver
	if err := d.Derive(stretched, []byte(p.passphrase), block.KDF); err != nil {
		return nil, err
	}
	if err := envelope.UnlockKey(unlockKey, p.share, stretched, members.Vault(), me.ID, block.KDF); err != nil {
		return nil, err
	}
	seeds := make([]byte, envelope.HalvesSize)
	if _, err := envelope.OpenHalves(seeds, unlockKey, &block.Halves, members.Vault(), me.ID, me.Public); err != nil {
		return nil, fmt.Errorf("private halves: %w", err)
	}
	return seeds, nil
}

func (o *opened) openItem(r *vaultfile.Revision, deks *keyring.Deks, keks map[uint64][]byte, vault id.Vault) error {
	entry := deks.Lookup(r.Revision)
	if entry == nil {
		return errors.New("an item has no DEK")
	}
	dek := make([]byte, envelope.KeySize)
	if err := envelope.UnwrapDEK(dek, entry, keks[deks.KEK()], vault, deks.KEK()); err != nil {
		return fmt.Errorf("DEK: %w", err)
	}
	b := envelope.Binding{Vault: vault, Item: r.Item, Revision: r.Revision, Parents: r.Parents}
	meta := make([]byte, envelope.OpenSize(r.Meta))
	n, err := envelope.OpenMeta(meta, dek, b, r.Meta)
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	secret := make([]byte, envelope.OpenSize(r.Secret))
	m, err := envelope.OpenSecret(secret, dek, b, r.Secret)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	o.deks, o.meta, o.items = append(o.deks, dek), append(o.meta, meta[:n]), append(o.items, secret[:m])
	return nil
}

// steal takes every part of the default vault of l. The share is what KMS
// answered to the GenerateDataKey of init.
func (l *laptop) steal() parts {
	l.Helper()
	vault, err := os.ReadFile(l.VaultFile())
	if err != nil {
		l.Fatal(err)
	}
	p := parts{
		vault: vault, members: l.w.s3.Object(prefix + "/members"), deks: l.w.s3.Object(prefix + "/deks"),
		passphrase: passphrase,
	}
	for _, e := range l.w.cloud.Exchanges() {
		if e.Action == "kms:GenerateDataKey" && e.Status == 200 {
			p.share = shareIn(l.w, e)
		}
	}
	if p.share == nil {
		l.Fatal("KMS never made a share")
	}
	return p
}

// shareIn is the plaintext in an answer of KMS.
func shareIn(w *world, e awsfake.Exchange) []byte {
	var answer struct{ Plaintext string }
	if err := json.NewDecoder(strings.NewReader(string(e.Answer))).Decode(&answer); err != nil {
		w.Fatal(err)
	}
	share, err := base64.StdEncoding.DecodeString(answer.Plaintext)
	if err != nil {
		w.Fatal(err)
	}
	return share
}
