package residue

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha3"
	"fmt"
	"os"
	"path/filepath"

	"vigil/internal/envelope"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/passphrase"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// opened is what a passphrase and a device key open, derived again from the
// files of a vault.
type opened struct {
	forms []form
	keys  []*secretKey // of every revision in the vault file
}

// vaultFiles are the files of a vault.
type vaultFiles struct{ vault, keyring, device string }

// open goes down the hierarchy and notes every secret on the way.
func (f vaultFiles) open(pass []byte) (*opened, error) {
	members, deks, file, err := f.read()
	if err != nil {
		return nil, err
	}
	o := &opened{}
	halves, err := o.halves(f, members, pass)
	if err != nil {
		return nil, err
	}
	keks := map[uint64][]byte{}
	for _, version := range members.KEKs() {
		seal, ok := members.Seal(version, halves.Identity())
		if !ok {
			return nil, fmt.Errorf("no seal of KEK %d", version)
		}
		kek := make([]byte, envelope.KeySize)
		if err := halves.OpenKEK(kek, seal, members.Vault()); err != nil {
			return nil, err
		}
		keks[version] = kek
		o.key(fmt.Sprintf("KEK %d", version), kek)
		mac, err := hkdf.Key(sha256.New, kek, nil, string(envelope.NewContext("vigil v1 deks mac", vaultField(members), envelope.Uint(version))), 32)
		if err != nil {
			return nil, err
		}
		o.key(fmt.Sprintf("MAC key of KEK %d", version), mac)
	}
	return o, o.items(members.Vault(), keks, deks, file)
}

func vaultField(m *keyring.Members) []byte {
	vault := m.Vault()
	return vault[:]
}

func (f vaultFiles) read() (*keyring.Members, *keyring.Deks, *vaultfile.File, error) {
	var data [3][]byte
	for i, path := range []string{f.vault, filepath.Join(f.keyring, "members"), filepath.Join(f.keyring, "deks")} {
		var err error
		if data[i], err = os.ReadFile(path); err != nil {
			return nil, nil, nil, err
		}
	}
	file, err := vaultfile.Parse(data[0], id.Vault{})
	if err != nil {
		return nil, nil, nil, err
	}
	members, err := keyring.ParseMembers(data[1], file.Vault())
	if err != nil {
		return nil, nil, nil, err
	}
	deks, err := keyring.ParseDeks(data[2], file.Vault())
	return members, deks, file, err
}

// halves opens the identity with both factors.
func (o *opened) halves(f vaultFiles, members *keyring.Members, pass []byte) (*envelope.Halves, error) {
	device, err := os.ReadFile(filepath.Join(f.device, "master.key"))
	if err != nil {
		return nil, err
	}
	o.key("device key", device)
	me := members.Identities()[0]
	block, _ := members.Unlock(me.ID)
	share, stretched, unlockKey := make([]byte, 32), make([]byte, 32), make([]byte, 32)
	vault := members.Vault()
	where := envelope.NewContext("vigil v1 local share", vault[:], me.ID[:], []byte(master.PurposeUnlock))
	if err := envelope.Open(share, device, where, block.Share); err != nil {
		return nil, err
	}
	if err := o.seal("wrapped share", device, where, block.Share); err != nil {
		return nil, err
	}
	var d passphrase.Deriver
	if err := d.Derive(stretched, pass, block.KDF); err != nil {
		return nil, err
	}
	if err := envelope.UnlockKey(unlockKey, share, stretched, members.Vault(), me.ID, block.KDF); err != nil {
		return nil, err
	}
	seeds := make([]byte, envelope.HalvesSize)
	halves, err := envelope.OpenHalves(seeds, unlockKey, &block.Halves, members.Vault(), me.ID, me.Public)
	if err != nil {
		return nil, err
	}
	o.forms = append(o.forms, form{name: "passphrase", bytes: bytes.Clone(pass)})
	o.key("share", share)
	o.key("Argon2id's output", stretched)
	o.key("unlock key", unlockKey)
	o.identity(seeds)
	return halves, nil
}

// identity adds the seeds of an identity and what they expand to.
func (o *opened) identity(seeds []byte) {
	l := &list{of: "identity"}
	hpke := seeds[:32]
	l.bytes("HPKE seed", hpke)
	l.text("HPKE seed", hpke)
	// MLKEM768-X25519: ML-KEM's d and z, then X25519's key.
	h := sha3.NewSHAKE256()
	_, _ = h.Write(hpke)
	var expanded [96]byte
	_, _ = h.Read(expanded[:])
	l.bytes("ML-KEM d", expanded[:32])
	l.bytes("ML-KEM z", expanded[32:64])
	l.bytes("X25519 key", expanded[64:])
	l.bytes("X25519 key, clamped", clamp(expanded[64:]))
	noise := sha3.Sum512(append(bytes.Clone(expanded[:32]), 3)) // FIPS 203 algorithm 13
	l.bytes("ML-KEM σ", noise[32:])
	key, err := readKey("identity's Ed25519 key", ed25519Encoding(seeds[32:]))
	if err != nil {
		panic(err) // it was encoded here
	}
	o.forms = append(append(o.forms, l.forms...), key.forms()...)
}

// items adds the DEKs and all they open.
func (o *opened) items(vault id.Vault, keks map[uint64][]byte, deks *keyring.Deks, file *vaultfile.File) error {
	for _, e := range deks.All() {
		dek := make([]byte, envelope.KeySize)
		if err := envelope.UnwrapDEK(dek, &e, keks[deks.KEK()], vault, deks.KEK()); err != nil {
			return err
		}
		name := fmt.Sprintf("DEK of %v", e.Revision)
		o.key(name, dek)
		c := envelope.NewContext("vigil v1 dek", vault[:], e.Item[:], e.Revision[:], envelope.Uint(deks.KEK()))
		if err := o.seal(name, keks[deks.KEK()], c, e.Wrapped[:]); err != nil {
			return err
		}
	}
	for _, l := range file.Lines() {
		line := l.Decode()
		e := deks.Lookup(line.Revision)
		if e == nil {
			continue
		}
		dek := make([]byte, envelope.KeySize)
		if err := envelope.UnwrapDEK(dek, e, keks[deks.KEK()], vault, deks.KEK()); err != nil {
			return err
		}
		if err := o.item(vault, &line, dek); err != nil {
			return err
		}
	}
	return nil
}

func (o *opened) item(vault id.Vault, line *vaultfile.Revision, dek []byte) error {
	b := envelope.Binding{Vault: vault, Item: line.Item, Revision: line.Revision, Parents: line.Parents}
	secret := make([]byte, envelope.OpenSize(line.Secret))
	n, err := envelope.OpenSecret(secret, dek, b, line.Secret)
	if err != nil {
		return err
	}
	key, err := readKey(fmt.Sprintf("item %v", line.Item), secret[:n])
	if err != nil {
		return err
	}
	o.keys = append(o.keys, key)
	o.forms = append(o.forms, key.forms()...)
	var parents []byte
	for _, p := range line.Parents {
		parents = append(parents, p[:]...)
	}
	for label, sealed := range map[string][]byte{"vigil v1 meta": line.Meta, "vigil v1 secret": line.Secret} {
		c := envelope.NewContext(label, vault[:], line.Item[:], line.Revision[:], parents)
		if err := o.seal(fmt.Sprintf("%s of %v", label, line.Revision), dek, c, sealed); err != nil {
			return err
		}
	}
	return nil
}

// key adds a symmetric key, also as HMAC and HKDF mix it.
func (o *opened) key(name string, key []byte) {
	l := &list{of: name}
	l.bytes("key", key)
	l.text("key", key)
	l.pads(key)
	o.forms = append(o.forms, l.forms...)
}

// pads adds what HMAC makes of a key first (RFC 2104).
func (l *list) pads(key []byte) {
	for name, mask := range map[string]byte{"inner": 0x36, "outer": 0x5c} {
		padded := bytes.Repeat([]byte{mask}, 64)
		for i, b := range key {
			padded[i] ^= b
		}
		l.bytes("HMAC's "+name+" pad", padded[:len(key)])
	}
}

// seal adds the keys of one seal: HKDF's, and the cipher's.
func (o *opened) seal(name string, key []byte, c envelope.Context, sealed []byte) error {
	salt := sealed[:32]
	okm, err := hkdf.Key(sha256.New, key, salt, string(c), 64)
	if err != nil {
		return err
	}
	if !bytes.Equal(okm[32:], sealed[32:64]) {
		return fmt.Errorf("%s: its key was derived wrong", name)
	}
	extract := hmac.New(sha256.New, salt)
	extract.Write(key)
	l := &list{of: name}
	l.bytes("cipher key", okm[:32])
	prk := extract.Sum(nil)
	l.bytes("HKDF's pseudorandom key", prk)
	l.pads(prk)
	o.forms = append(o.forms, l.forms...)
	return nil
}

// ed25519Encoding encodes a seed for SSH_AGENTC_ADD_IDENTITY, without its
// public key: readKey doesn't look at it.
func ed25519Encoding(seed []byte) []byte {
	b := wire.AppendString(wire.AppendString(nil, "ssh-ed25519"), make([]byte, 32))
	return wire.AppendString(b, append(bytes.Clone(seed), make([]byte, 32)...))
}
