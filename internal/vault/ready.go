package vault

import (
	"cmp"
	"context"
	"path/filepath"

	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/opener"
	"vigil/internal/printable"
)

// Ready starts a keeper and an opener, as an unlock does, and ends them: what prevents
// them is known before anyone types a passphrase.
func (d *Device) Ready(ctx context.Context) error {
	c, err := opener.Start(ctx, d.Opener, id.Vault{})
	if err != nil {
		return openerError("", err)
	}
	c.Close()
	k, err := keeper.Start(ctx, keeper.Options{Exe: d.Exe})
	if err != nil {
		return keeperError("", err)
	}
	k.Close()
	return nil
}

// Vacant returns an error if the vault can't be created as req wants it: because there
// is one, or because a folder of this device can't be written.
func (v *Vault) Vacant(req *control.ReadyRequest) error {
	if _, err := v.vacant(); err != nil {
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
	if cmp.Or(req.Backend, c.Backend) == config.DefaultBackend {
		dirs = append(dirs, v.d.Paths.Keyring(v.name))
	}
	for _, dir := range dirs {
		if err := durable.Writable(dir); err != nil {
			return control.Errorf(control.CodeFailed, "Make it writable: `ls -ld "+printable.Word(dir)+"` shows who may. Nothing was changed.", "make vault %s: %v", v.name, err)
		}
	}
	return nil
}
