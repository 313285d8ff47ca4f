package vault

import (
	"context"
	"fmt"
	"os"

	"vigil/internal/backend"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/master"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// moveBlob is the state blob with the URI of the master key that an identity is
// moving to, while the keyring and the configuration may name different ones.
const moveBlob = "moving-to"

// MasterSet moves this device's identity to another master key. It first stores and
// verifies the new unlock block in the keyring, and then writes the configuration.
func (v *Vault) MasterSet(ctx context.Context, ask opener.Asker, req *control.MasterSetRequest) (*control.MasterSetReply, error) {
	return inTurn(ctx, v, func(ctx context.Context) (*control.MasterSetReply, error) { return v.moveMaster(ctx, req, ask) })
}

func (v *Vault) moveMaster(ctx context.Context, req *control.MasterSetRequest, ask opener.Asker) (*control.MasterSetReply, error) {
	uri, err := master.ParseURI(req.Master)
	if err != nil {
		return nil, control.Errorf(control.CodeUsage, "See `vigilctl master set --help`.", "%v", err)
	}
	next := v.config().VaultConfig
	from := next.Master
	next.Master = uri.String()
	j, err := v.mayMove("master key", from, next.Master, next)
	if err != nil {
		return nil, err
	}
	if err := j.state.SetBlob(ctx, moveBlob, []byte(next.Master)); err != nil {
		return nil, err
	}
	job := &opener.MoveMaster{Place: v.place(j.vault, j.identity), Passphrase: 1, To: next.Master}
	changed, err := v.move(ctx, j, next, "master set", job, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	after := context.WithoutCancel(ctx)
	if err := j.state.DropBlob(after, moveBlob); err != nil {
		return nil, err
	}
	r := &control.MasterSetReply{Vault: v.name, Master: next.Master, NewShare: changed.NewShare}
	r.Notices = changeNotices(changed)
	if r.NewShare || !v.remote() {
		v.forgetOffline(after, j.state) // of the old share; the next unlock keeps the new one
	}
	if from == master.SchemeLocal {
		r.Notices = append(r.Notices, "This device's own master key stays in "+v.d.Paths.Device()+": other vaults may need it. Remove it when none does.")
	} else {
		r.Notices = append(r.Notices, "Other devices and people have their own shares: each moves by itself. Disable the old key only when none uses it any more (`vigilctl identity list`).")
	}
	return r, v.takeChanged(after, j, changed)
}

// BackendSet moves this device to another backend. It first makes a verified copy of
// the keyring, and then writes the configuration. The old copy stays.
func (v *Vault) BackendSet(ctx context.Context, ask opener.Asker, req *control.BackendSetRequest) (*control.BackendSetReply, error) {
	return inTurn(ctx, v, func(ctx context.Context) (*control.BackendSetReply, error) { return v.moveBackend(ctx, req, ask) })
}

func (v *Vault) moveBackend(ctx context.Context, req *control.BackendSetRequest, ask opener.Asker) (*control.BackendSetReply, error) {
	uri, err := backend.ParseURI(req.Backend)
	if err != nil {
		return nil, control.Errorf(control.CodeUsage, "See `vigilctl backend set --help`.", "%v", err)
	}
	next := v.config().VaultConfig
	from := next.Backend
	next.Backend = uri.String()
	j, err := v.mayMove("backend", from, next.Backend, next)
	if err != nil {
		return nil, err
	}
	job := &opener.MoveBackend{Place: v.place(j.vault, j.identity), Passphrase: 1, To: next.Backend}
	changed, err := v.move(ctx, j, next, "backend set", job, ask, req.Passphrase)
	if err != nil {
		return nil, err
	}
	r := &control.BackendSetReply{Vault: v.name, Backend: next.Backend, Copied: !changed.Already}
	r.Notices = append(changeNotices(changed),
		"Every other device of this vault moves with the same command, and nobody may write at the old place meanwhile: what is written there after the copy isn't at the new one.",
		"The old place was left as it is. When no device uses it any more, remove "+v.oldPlace(from)+".",
	)
	return r, v.takeChanged(context.WithoutCancel(ctx), j, changed)
}

// mayMove checks that a part of the vault can move to the place in next.
func (v *Vault) mayMove(part, from, to string, next config.VaultConfig) (passphraseJob, error) {
	if from == to {
		return passphraseJob{}, control.Errorf(control.CodeExists, "Nothing was changed, and nothing has to be. `vigilctl status` shows where each part is.", "the %s of vault %q is %s already", part, v.name, from)
	}
	if err := config.CheckVault(v.d.Paths, v.name, next); err != nil {
		return passphraseJob{}, err
	}
	return v.passphraseJob()
}

// move has an opener move a part of the vault. Once that is stored, it writes the
// configuration even if the job is cancelled.
func (v *Vault) move(ctx context.Context, j passphraseJob, next config.VaultConfig, what string, job opener.Job[opener.Changed], ask opener.Asker, passphrase *os.File) (*opener.Changed, error) {
	changed, err := runPassphraseJob(ctx, v, j, what, job, ask, passphrase)
	if err != nil {
		return nil, err
	}
	return changed, v.adopt(context.WithoutCancel(ctx), next)
}

// oldPlace names the objects that a move left behind.
func (v *Vault) oldPlace(uri string) string {
	u, err := backend.ParseURI(uri)
	switch {
	case err != nil:
		return uri
	case u.Scheme == backend.SchemeFile && u.Path == "":
		return "the folder " + v.d.Paths.Keyring(v.name)
	case u.Scheme == backend.SchemeFile:
		return "the folder " + u.Path
	}
	return fmt.Sprintf("s3://%s/%s and s3://%s/%s with all their versions", u.Bucket, u.Key(backend.Members), u.Bucket, u.Key(backend.Deks))
}

// adopt writes the configuration and uses it.
func (v *Vault) adopt(ctx context.Context, next config.VaultConfig) error {
	if err := config.WriteVault(ctx, v.d.Paths, v.name, next); err != nil {
		return fmt.Errorf("the keyring has moved, and the configuration can't be written: run the command again: %w", err)
	}
	v.setConfig(config.Vault{Name: v.name, VaultConfig: next})
	return nil
}

// movedMaster adds to an unlock error that a move was interrupted between the keyring
// and the configuration.
func (v *Vault) movedMaster(st *state.Vault, err error) error {
	if k := opener.KindOf(err); err == nil || k != opener.Misconfigured && k != opener.Damaged {
		return err
	}
	to, blobErr := st.Blob(moveBlob)
	if blobErr != nil || string(to) == v.config().Master {
		return err
	}
	e := control.AsError(err)
	return &failure{control.Errorf(e.Code, fmt.Sprintf("A move to another master key was interrupted. Finish it: vigilctl master set --vault %s '%s'", v.name, to), "%s", e.Message), err}
}
