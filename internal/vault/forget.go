package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vigil/internal/backend"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/printable"
)

// Forget moves aside all that this device has of the vault: vault file, local keyring,
// configuration and device state. Nothing is destroyed but what would unlock it without
// network, and the remembered public keys: a passphrase may come back to its owner's
// mind, and a vault file may be everybody's. The vault must be locked. Run again after an interruption, it continues.
func (v *Vault) Forget(ctx context.Context) (*control.ForgetReply, error) {
	return inTurn(ctx, v, v.forget)
}

func (v *Vault) forget(ctx context.Context) (*control.ForgetReply, error) {
	vaultID, err := v.lockedID()
	if err != nil {
		return nil, err
	}
	r := &control.ForgetReply{Vault: v.name, Aside: v.aside(), Left: v.leftBehind(vaultID)}
	if err := durable.MkdirAll(r.Aside, 0o700); err != nil {
		return nil, v.forgetError(err)
	}
	moves := []move{{v.d.Paths.VaultConfig(v.name), filepath.Join(r.Aside, v.name+".toml")}}
	if v.config().Path == v.d.Paths.Vault(v.name) {
		moves = append(moves, move{filepath.Dir(v.config().Path), filepath.Join(r.Aside, "vault")})
	}
	if v.keyringFolder(v.config().Backend) == v.d.Paths.Keyring(v.name) {
		moves = append(moves, move{v.d.Paths.Keyring(v.name), filepath.Join(r.Aside, "keyring")})
	}
	if err := moveAll(moves); err != nil {
		return nil, v.forgetError(err)
	}
	if !vaultID.IsZero() {
		st := v.d.State.Vault(vaultID)
		v.forgetOffline(ctx, st)
		err := errors.Join(st.DropPublicKeys(ctx), st.SetAside(ctx, filepath.Join(r.Aside, "state")))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, v.forgetError(err)
		}
	}
	if err := v.d.State.Unbind(ctx, v.name); err != nil {
		return nil, v.forgetError(err)
	}
	v.d.Agent.SetVault(v.name, nil)
	return r, nil
}

// aside returns the path of a new folder for what is forgotten.
func (v *Vault) aside() string {
	base := filepath.Join(v.d.Paths.Data, "forgotten", v.name+"-"+time.Now().Format("20060102"))
	dir := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(dir); err != nil { // whatever it is: making the folder tells
			return dir
		}
		dir = fmt.Sprintf("%s-%d", base, n)
	}
}

func (v *Vault) forgetError(err error) error {
	return control.Errorf(control.CodeFailed, "Nothing is lost: what was moved is in "+printable.Word(filepath.Join(v.d.Paths.Data, "forgotten"))+". Run it again to continue.", "forget vault %q: %v", v.name, err)
}

// lockedID returns the id of the locked vault; zero if this device doesn't know it and
// its file can't be read.
func (v *Vault) lockedID() (vaultID id.Vault, err error) {
	if _, err := v.current(); err == nil {
		return vaultID, control.Errorf(control.CodeRefused, "Run it again.", "vault %q was unlocked meanwhile; nothing was changed", v.name)
	}
	v.watch.Wait() // what was unlocked may still be writing what the device remembers
	names, err := v.d.State.Names()
	if err != nil {
		return vaultID, err
	}
	if known, ok := names[v.name]; ok {
		return known, nil
	}
	vaultID, _, _ = v.readHeader()
	return vaultID, nil
}

// leftBehind says what forgetting doesn't touch.
func (v *Vault) leftBehind(vaultID id.Vault) (left []string) {
	c := v.config()
	if c.Path != v.d.Paths.Vault(v.name) {
		left = append(left, "the vault file "+c.Path+", which the configuration names: remove it yourself if no other device syncs it")
	}
	if dir := v.keyringFolder(c.Backend); dir != v.d.Paths.Keyring(v.name) {
		left = append(left, "the keyring at "+cmp.Or(dir, c.Backend)+": other devices may use it")
	}
	if c.Master == config.DefaultMaster {
		left = append(left, "the local master key in "+v.d.Paths.Device()+": this device's other vaults use it")
	} else {
		left = append(left, "the master key "+c.Master)
	}
	if identity, err := v.identityOf(v.d.State.Vault(vaultID)); err == nil && !identity.IsZero() && v.keyringFolder(c.Backend) != v.d.Paths.Keyring(v.name) {
		left = append(left, fmt.Sprintf("this device's identity in the vault: remove it on another device with `vigilctl identity remove %s`", identity))
	}
	return left
}

// move is a file or folder and the place it goes to.
type move struct{ from, to string }

// moveAll moves what is there.
func moveAll(moves []move) error {
	for _, m := range moves {
		if !exists(m.from) {
			continue
		}
		if err := durable.Rename(m.from, m.to); err != nil {
			return err
		}
	}
	return nil
}

// Rename gives the vault another name on this device, and returns its configuration
// under it. The vault must be locked. Run again after an interruption, it continues.
func (v *Vault) Rename(ctx context.Context, to string) (config.Vault, error) {
	return inTurn(ctx, v, func(ctx context.Context) (config.Vault, error) { return v.giveName(ctx, to) })
}

func (v *Vault) giveName(ctx context.Context, to string) (config.Vault, error) {
	vaultID, err := v.lockedID()
	if err != nil {
		return config.Vault{}, err
	}
	p, next := v.d.Paths, config.Vault{Name: to, VaultConfig: v.config().VaultConfig}
	var moves []move
	if next.Path == p.Vault(v.name) {
		next.Path = p.Vault(to)
		moves = append(moves, move{filepath.Dir(p.Vault(v.name)), filepath.Dir(p.Vault(to))})
	}
	if u, err := backend.ParseURI(next.Backend); err == nil && u.Scheme == backend.SchemeFile && u.Path == "" {
		moves = append(moves, move{p.Keyring(v.name), p.Keyring(to)})
	}
	for _, m := range moves {
		if exists(m.from) && exists(m.to) {
			return config.Vault{}, control.Errorf(control.CodeExists, "Nothing was changed. Choose another name.", "%s is there already", m.to)
		}
	}
	if err := config.CheckVault(p, to, next.VaultConfig); err != nil {
		return config.Vault{}, err
	}
	// The keyring first: a vault file without one is shown as such under the old name.
	for i := len(moves) - 1; i >= 0; i-- {
		if err := moveAll(moves[i : i+1]); err != nil {
			return config.Vault{}, v.renameError(to, err)
		}
	}
	err = config.WriteVault(ctx, p, to, next.VaultConfig)
	if err == nil && !vaultID.IsZero() {
		err = v.d.State.Bind(ctx, to, vaultID)
	}
	if err == nil {
		err = v.d.State.Unbind(ctx, v.name)
	}
	if err == nil && exists(p.VaultConfig(v.name)) {
		err = durable.Remove(p.VaultConfig(v.name))
	}
	if err != nil {
		return config.Vault{}, v.renameError(to, err)
	}
	v.d.Agent.SetVault(v.name, nil)
	return next, nil
}

func (v *Vault) renameError(to string, err error) error {
	return control.Errorf(control.CodeFailed, "Nothing is lost. Run it again to continue.", "rename vault %q to %q: %v", v.name, to, err)
}
