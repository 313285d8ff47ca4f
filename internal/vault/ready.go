package vault

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"vigil/internal/backend"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/fault"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/opener"
	"vigil/internal/printable"
)

// Ready starts a keeper and an opener, as an unlock does, and ends them: what prevents
// them is known before anyone types a passphrase.
func (d *Device) Ready(ctx context.Context) error {
	c, err := d.Opener.Start(ctx, id.Vault{})
	if err != nil {
		return openerError("", err)
	}
	c.Close()
	k, err := d.startKeeper(ctx, id.Vault{})
	if err != nil {
		return keeperError("", err)
	}
	k.Close()
	return nil
}

// startKeeper starts the keeper of a vault.
func (d *Device) startKeeper(ctx context.Context, vault id.Vault) (*keeper.Client, error) {
	o := d.Keeper
	o.Vault = vault
	return keeper.Start(ctx, o)
}

// Vacant returns an error if the vault can't be created as req wants it: because there
// is one, or a part of one, or because a folder of this device can't be written.
func (v *Vault) Vacant(req *control.ReadyRequest) error {
	begun, err := v.vacant()
	if err != nil {
		return err
	}
	c := v.config()
	dirs := []string{v.d.Paths.State, filepath.Dir(c.Path)}
	if req.Master != "" || req.Backend != "" {
		dirs = append(dirs, v.d.Paths.VaultConfigDir())
	}
	if cmp.Or(req.Master, c.Master) == config.DefaultMaster {
		dirs = append(dirs, v.d.Paths.Device())
	}
	if dir := v.keyringFolder(cmp.Or(req.Backend, c.Backend)); dir != "" {
		dirs = append(dirs, dir)
		if begun.IsZero() && exists(filepath.Join(dir, string(backend.Members))) {
			return control.Errorf(control.CodeExists,
				"Put its vault file back at "+printable.Word(c.Path)+", from a backup or from where it is synced to. To begin anew, move that folder away.",
				"there is the keyring of a vault in %s, but no vault file", dir)
		}
	}
	for _, dir := range dirs {
		if err := durable.Writable(dir); err != nil {
			next := fault.NextAfter(err)
			if errors.Is(err, fs.ErrPermission) {
				next = "Make it writable: `ls -ld " + printable.Word(dir) + "` shows who may."
			}
			return control.Errorf(control.CodeFailed, strings.TrimSpace(next+" Nothing was changed."), "make vault %s: %v", v.name, err)
		}
	}
	return nil
}

// Complete returns an error if a part of the vault that belongs on this device isn't
// there: the keyring, with the file backend, or the local master key.
func (v *Vault) Complete() error {
	c := v.config()
	if dir := v.keyringFolder(c.Backend); dir != "" && !exists(filepath.Join(dir, string(backend.Members))) {
		return v.noKeyring("the keyring", "")
	}
	if file := filepath.Join(v.d.Paths.Device(), master.LocalFile); c.Master == config.DefaultMaster && !exists(file) {
		return control.Errorf(control.CodeDamaged, "Put it back from a backup of the device that made the vault: nothing else opens it. "+v.joinInstead()+"Nothing was changed.",
			"the local master key of vault %q isn't at %s", v.name, file)
	}
	return nil
}

// missing returns what to say of an unlock that found no keyring, or a part of one.
func (v *Vault) missing(err error) error {
	if gone := v.Complete(); gone != nil {
		return gone
	}
	why := ""
	if e := new(opener.Error); errors.As(err, &e) {
		why = ": " + e.Message
	}
	return v.noKeyring("a part of the keyring", why)
}

// noKeyring returns the error for a backend without what.
func (v *Vault) noKeyring(what, why string) *control.Error {
	place := cmp.Or(v.keyringFolder(v.config().Backend), v.config().Backend)
	return control.Errorf(control.CodeDamaged, "It holds the wrapped keys: put it back from a backup, as nothing opens the vault without it. "+v.joinInstead()+"Nothing was changed.",
		"%s of vault %q isn't at %s%s", what, v.name, place, why)
}

// joinInstead is advice for a device that has never opened the vault: its parts need not
// be lost, they may be another device's.
func (v *Vault) joinInstead() string {
	if names, err := v.d.State.Names(); err != nil || !names[v.name].IsZero() {
		return ""
	}
	return "If another device made the vault, join it instead: `vigilctl identity request --help` says how. "
}

// GuessCost returns what each guess at the new passphrase of req would cost whoever has
// this device's disk, and so the local master key; zero with a master key in a KMS.
func (v *Vault) GuessCost(req *control.ReadyRequest) control.KDF {
	if cmp.Or(req.Master, v.config().Master) != config.DefaultMaster {
		return control.KDF{}
	}
	k := keyring.DefaultKDF([keyring.KDFSaltSize]byte{})
	if j, err := v.passphraseJob(); err == nil && !req.Create {
		if members, _, err := v.lastMembers(j); err == nil {
			if block, ok := members.Unlock(j.identity); ok {
				k = block.KDF
			}
		}
	}
	return control.KDF{
		MemoryMiB: cmp.Or(req.KDF.MemoryMiB, uint32(k.Memory>>10)), Time: cmp.Or(req.KDF.Time, uint32(k.Time)),
		Parallelism: cmp.Or(req.KDF.Parallelism, uint32(k.Lanes)),
	}
}

// keyringFolder returns the folder of a file backend, or "".
func (v *Vault) keyringFolder(uri string) string {
	u, err := backend.ParseURI(uri)
	if err != nil || u.Scheme != backend.SchemeFile {
		return ""
	}
	return cmp.Or(u.Path, v.d.Paths.Keyring(v.name))
}

// exists reports false only if nothing is there: what can't be looked at may be.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
