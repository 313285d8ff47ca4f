package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Vault is the state of one vault on this device.
type Vault struct {
	dir string
	id  id.Vault
}

// Vault returns the state of the vault with the given id. It does no I/O.
func (s *Store) Vault(vault id.Vault) *Vault {
	return &Vault{dir: filepath.Join(s.dir, "vaults", vault.String()), id: vault}
}

// ID returns the vault's id.
func (v *Vault) ID() id.Vault { return v.id }

func (v *Vault) file(name string) string { return filepath.Join(v.dir, name) }

// locked runs change under the vault's lock.
func (v *Vault) locked(ctx context.Context, change func() error) error {
	if err := durable.MkdirAll(v.dir, folderMode); err != nil {
		return err
	}
	lock, err := durable.AcquireLock(ctx, v.file(".lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	return change()
}

// drop removes one file. It is not an error if there is none.
func (v *Vault) drop(ctx context.Context, name string) error {
	return v.locked(ctx, func() error {
		if err := durable.Remove(v.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// Pins returns the vault's pins, or zero Pins if there are none yet.
func (v *Vault) Pins() (keyring.Pins, error) {
	var p keyring.Pins
	err := read(v.file("pins.json"), "pins", &p)
	if errors.Is(err, ErrNone) {
		err = nil
	}
	return p, err
}

// Advance keeps newer pins. Package keyring checks that they extend the kept ones;
// Advance only refuses to go back: for pins with a lower sequence number, KEK or
// epoch, or another hash at the same one, the kept pins stay and the error wraps
// ErrBackwards. Damaged pins aren't replaced.
func (v *Vault) Advance(ctx context.Context, p keyring.Pins) error {
	return v.locked(ctx, func() error {
		old, err := v.Pins()
		if err != nil {
			return err
		}
		if old == p {
			return nil
		}
		members := cmp.Compare(p.Members.Seq, old.Members.Seq)
		deks := cmp.Or(cmp.Compare(p.Deks.KEK, old.Deks.KEK), cmp.Compare(p.Deks.Epoch, old.Deks.Epoch))
		if back(members, old.Members.Hash, p.Members.Hash) || back(deks, old.Deks.SHA256, p.Deks.SHA256) {
			return fmt.Errorf("members record %d and epoch %d of KEK %d after record %d and epoch %d of KEK %d: %w",
				p.Members.Seq, p.Deks.Epoch, p.Deks.KEK, old.Members.Seq, old.Deks.Epoch, old.Deks.KEK, ErrBackwards)
		}
		return write(v.file("pins.json"), "pins", p)
	})
}

// back reports whether a step goes back or sideways. A zero hash pins nothing.
func back(step int, old, now id.Hash) bool {
	return !old.IsZero() && (step < 0 || step == 0 && old != now)
}

// replaced is the body of replaced.json.
type replaced struct {
	Revisions []id.Revision `json:"revisions"`
}

// Replaced returns the revisions that must not be used again on this device,
// because it has had their replacements. There are none if nothing was kept.
func (v *Vault) Replaced() ([]id.Revision, error) {
	var r replaced
	err := read(v.file("replaced.json"), "replaced", &r)
	if errors.Is(err, ErrNone) {
		err = nil
	}
	return r.Revisions, err
}

// SetReplaced keeps the revisions that Replaced returns.
func (v *Vault) SetReplaced(ctx context.Context, revisions []id.Revision) error {
	return v.locked(ctx, func() error { return write(v.file("replaced.json"), "replaced", replaced{revisions}) })
}

// Reset replaces the pins unconditionally, even damaged ones, for a restore that
// the user asked for.
func (v *Vault) Reset(ctx context.Context, p keyring.Pins) error {
	return v.locked(ctx, func() error { return write(v.file("pins.json"), "pins", p) })
}

// PublicKey is what the agent lists of a key while its vault is locked.
type PublicKey struct {
	Item        id.Item     `json:"item"`
	Revision    id.Revision `json:"revision"`
	Name        string      `json:"name"`
	Comment     string      `json:"comment"`
	Public      []byte      `json:"public"`                // SSH wire encoding
	Certificate []byte      `json:"certificate,omitempty"` // in the same encoding
	// Destinations, Confirm, Approve and AllowSHA1 are the key's policy (vaultfile.Policy): a
	// restricted key stays hidden where it couldn't be used.
	Destinations []byte `json:"destinations,omitempty"`
	Confirm      bool   `json:"confirm,omitempty"`
	Approve      string `json:"approve,omitempty"`
	AllowSHA1    bool   `json:"allow_sha1,omitempty"`
}

// publicKeys is the body of public.json.
type publicKeys struct {
	Keys []PublicKey `json:"keys"`
}

// PublicKeys returns what SetPublicKeys kept, in the same order, or ErrNone.
func (v *Vault) PublicKeys() ([]PublicKey, error) {
	var p publicKeys
	err := read(v.file("public.json"), "public", &p)
	return p.Keys, err
}

// SetPublicKeys keeps keys in their order. They are a cache: a damaged file is
// replaced.
func (v *Vault) SetPublicKeys(ctx context.Context, keys []PublicKey) error {
	return v.locked(ctx, func() error { return write(v.file("public.json"), "public", publicKeys{Keys: keys}) })
}

// DropPublicKeys forgets the public keys, for `public_cache = false`.
func (v *Vault) DropPublicKeys(ctx context.Context) error { return v.drop(ctx, "public.json") }

// MaxBlobName is the most bytes of [a-z0-9-] a blob's name may have.
const MaxBlobName = 32

// blobFile returns the path of a blob's file.
func (v *Vault) blobFile(name string) (string, error) {
	ok := name != "" && len(name) <= MaxBlobName
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return "", fmt.Errorf("name of a blob %.40q: want [a-z0-9-]", name)
	}
	return "blob-" + name, nil
}

// Blob returns what SetBlob kept under name, or ErrNone.
func (v *Vault) Blob(name string) ([]byte, error) {
	file, err := v.blobFile(name)
	if err != nil {
		return nil, err
	}
	var b []byte
	err = read(v.file(file), "blob", &b)
	return b, err
}

// SetBlob keeps data under name. The caller has sealed data that is secret.
func (v *Vault) SetBlob(ctx context.Context, name string, data []byte) error {
	file, err := v.blobFile(name)
	if err != nil {
		return err
	}
	return v.locked(ctx, func() error { return write(v.file(file), "blob", data) })
}

// DropBlob forgets the blob kept under name.
func (v *Vault) DropBlob(ctx context.Context, name string) error {
	file, err := v.blobFile(name)
	if err != nil {
		return err
	}
	return v.drop(ctx, file)
}

// SetAside moves the vault's state to dir, which must not exist. Pending changes, which
// exist nowhere else, are kept there.
func (v *Vault) SetAside(ctx context.Context, dir string) error {
	return v.locked(ctx, func() error { return durable.Rename(v.dir, dir) })
}

// Forget removes the vault's state from this device. It fails while changes are
// pending, because they exist nowhere else.
func (v *Vault) Forget(ctx context.Context) error {
	return v.locked(ctx, func() error {
		list, err := v.Pending()
		if err != nil {
			return err
		}
		if len(list) > 0 {
			return fmt.Errorf("forget vault %s: %d changes are saved on this device only", v.id, len(list))
		}
		return os.RemoveAll(v.dir)
	})
}
