package sshtest

import (
	"encoding/base64"
	"fmt"
	"slices"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/master/local"
	"vigil/internal/passphrase"
	"vigil/internal/vaultfile"
)

// Insider is a malicious identity of the default vault: it has opened everything
// sealed to it, and follows no rules.
type Insider struct {
	*Home
	ID      id.Identity
	Halves  *envelope.Halves
	KEKs    map[uint64][]byte
	Members *keyring.Members // as first read
	Deks    *keyring.Deks

	dir string // the keyring's folder
}

// Inside opens this home's identity with its passphrase and the device's master key,
// for the keyring in a folder. The vault must be unlocked here.
func (h *Home) Inside(dir, pass string) *Insider {
	h.Helper()
	identity, err := id.ParseIdentity(h.Vault().Identity)
	if err != nil {
		h.Fatal(err)
	}
	in := &Insider{Home: h, ID: identity, KEKs: map[uint64][]byte{}, dir: dir}
	in.Members, in.Deks = h.Stored(dir)
	in.Halves = h.OpenHalves(in.Members, identity, pass)
	for _, version := range in.Members.KEKs() {
		seal, _ := in.Members.Seal(version, identity)
		kek := make([]byte, envelope.KeySize)
		if err := in.Halves.OpenKEK(kek, seal, in.Members.Vault()); err != nil {
			h.Fatal(err)
		}
		in.KEKs[version] = kek
	}
	return in
}

// OpenHalves opens an identity's private keys with both factors: its passphrase and
// this device's local master key.
func (h *Home) OpenHalves(members *keyring.Members, identity id.Identity, pass string) *envelope.Halves {
	h.Helper()
	slab, err := guard.NewSlab(16 << 10)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = slab.Close() })
	me, _ := members.Identity(identity)
	block, _ := members.Unlock(identity)
	share, stretched, key := make([]byte, 32), make([]byte, 32), make([]byte, 32)
	c := master.Context{Vault: members.Vault(), Identity: identity, Purpose: master.PurposeUnlock}
	if err := local.New(h.Path("data/vigil/device"), slab).Decrypt(h.Context(), share, block.Share, c); err != nil {
		h.Fatal(err)
	}
	var d passphrase.Deriver
	if err := d.Derive(stretched, []byte(pass), block.KDF); err != nil {
		h.Fatal(err)
	}
	if err := envelope.UnlockKey(key, share, stretched, members.Vault(), identity, block.KDF); err != nil {
		h.Fatal(err)
	}
	halves, err := envelope.OpenHalves(make([]byte, envelope.HalvesSize), key, &block.Halves, members.Vault(), identity, me.Public)
	if err != nil {
		h.Fatal(err)
	}
	return halves
}

// DEK returns a revision's DEK, which the insider can unwrap.
func (in *Insider) DEK(revision id.Revision) []byte {
	in.Helper()
	e := in.Deks.Lookup(revision)
	dek := make([]byte, envelope.KeySize)
	if e == nil {
		in.Fatalf("revision %v has no DEK", revision)
	}
	if err := envelope.UnwrapDEK(dek, e, in.KEKs[in.Deks.KEK()], in.Deks.Vault(), in.Deks.KEK()); err != nil {
		in.Fatal(err)
	}
	return dek
}

// Forge makes another line of a revision under a DEK that the insider knows.
func (in *Insider) Forge(line vaultfile.Revision, dek []byte, meta vaultfile.Meta, secret []byte) vaultfile.Revision {
	in.Helper()
	text, err := meta.Encode()
	if err != nil {
		in.Fatal(err)
	}
	b := envelope.Binding{Vault: in.Deks.Vault(), Item: line.Item, Revision: line.Revision, Parents: line.Parents}
	if line.Meta, err = envelope.SealMeta(dek, b, text); err != nil {
		in.Fatal(err)
	}
	if line.Secret, err = envelope.SealSecret(dek, b, secret); err != nil {
		in.Fatal(err)
	}
	return line
}

// Put stores an object in the keyring's folder.
func (in *Insider) Put(object string, data []byte) { in.Helper(); in.PutObject(in.dir, object, data) }

// MAC authenticates a manifest with a KEK that the insider knows; it is a keyring.MACFunc.
func (in *Insider) MAC(version uint64, hash id.Hash) ([keyring.MACSize]byte, error) {
	return envelope.DeksMAC(in.KEKs[version], in.Deks.Vault(), version, hash)
}

// EndDeks completes the lines of a deks object with the MAC of the insider's KEK and
// the insider's signature.
func (in *Insider) EndDeks(body []byte) []byte {
	in.Helper()
	hash := id.HashOf(body)
	mac, err := envelope.DeksMAC(in.KEKs[in.Deks.KEK()], in.Deks.Vault(), in.Deks.KEK(), hash)
	if err != nil {
		in.Fatal(err)
	}
	sig, err := in.Halves.Sign(keyring.DeksMessage(hash))
	if err != nil {
		in.Fatal(err)
	}
	return fmt.Appendf(slices.Clone(body), "{\"mac\":\"%s\",\"sig\":\"%s\"}\n", Base64(mac[:]), Base64(sig))
}

// Record makes the record of the chain after prev, signed by the insider. fact is
// what follows "kind":.
func (in *Insider) Record(seq int, prev id.Hash, fact string) (line []byte, hash id.Hash) {
	in.Helper()
	body := fmt.Appendf(nil, `{"seq":%d,"prev":"%v","by":"%v","kind":%s}`, seq, prev, in.ID, fact)
	sig, err := in.Halves.Sign(keyring.RecordMessage(body))
	if err != nil {
		in.Fatal(err)
	}
	return fmt.Appendf(nil, "{\"body\":%s,\"sig\":\"%s\"}\n", body, Base64(sig)), id.HashOf(body)
}

// Base64 encodes b as the stored objects do.
func Base64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
