package job

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"vigil/internal/backend"
	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/opener"
	"vigil/internal/passphrase"
	"vigil/internal/ring"
)

// unlock opens an identity's private keys with both factors and gives them to the keeper.
func (j *job) unlock(ctx context.Context, req *opener.Unlock) (*opener.Unlocked, error) {
	keeper, err := handed(req.Keeper)
	if err != nil {
		return nil, err
	}
	defer keeper.Close()
	o, err := j.openIdentity(ctx, req.Place, factors{passphrase: req.Passphrase, off: req.Offline, keep: req.KeepOffline}, anything)
	if err != nil {
		return nil, err
	}
	defer o.ring.Close()
	if err := handover.Identity(keeper, j.vault, o.identity, o.seeds.Bytes()); err != nil {
		return nil, &opener.Error{Kind: opener.KeeperRefused, Message: err.Error()}
	}
	return &opener.Unlocked{
		Identity: o.identity, Keyring: o.keyring, Calls: o.calls,
		Offline: o.offline, Why: o.why, Keep: o.keep, DeviceKey: o.deviceKey, Refused: o.refusedMembers, Share: o.share, Digest: o.digest,
	}, nil
}

// opened is an identity whose private keys were opened.
type opened struct {
	identity      id.Identity
	calls         master.Calls
	keyring       backend.Keyring
	members, deks backend.Version // the store's versions
	// refusedMembers is why the kept keyring is used instead of the store's; nil: it isn't.
	refusedMembers *opener.Error

	offline   bool // the kept share or the kept keyring was used
	why       *opener.Error
	keep      *opener.KeptShare // if requested
	deviceKey string
	share     []byte        // wrapped
	digest    []byte        // of the share's content
	seeds     *guard.Buffer // the private keys, owned by ring
	ring      *ring.Ring    // with no keyring loaded; the caller closes it
}

// openIdentity fetches the keyring, verifies its chain from the vault's id, runs Argon2id
// over the passphrase while the master key decrypts the share, and opens the identity's
// private keys with both.
//
// If standsIn accepts the error that refuses members, the kept keyring is used instead. A
// job that writes nothing accepts any: whoever runs the backend must not be able to make
// the keys unusable.
func (j *job) openIdentity(ctx context.Context, p opener.Place, f factors, standsIn func(refused error) bool) (*opened, error) {
	o := &opened{}
	fetched, err := j.fetchOrKept(ctx, o, p, f)
	if err != nil {
		return nil, err
	}
	o.members, o.deks = fetched.MembersVersion, fetched.DeksVersion
	members, err := j.acceptMembers(fetched.Members, p.Vault)
	if kept := j.seen.Kept; err != nil && len(kept.Members) > 0 && standsIn(err) {
		// A deks that matches the earlier members may contain others' changes.
		o.refusedMembers = sorted(err)
		fetched.Members, fetched.MembersVersion = kept.Members, kept.MembersVersion
		members, err = j.acceptMembers(fetched.Members, p.Vault)
	}
	if err != nil {
		return nil, fmt.Errorf("verify keyring: %w", err)
	}
	mine, err := j.mine(ctx, p, members)
	if err != nil {
		return nil, err
	}
	o.keyring = fetched
	if o.seeds, err = j.slab.Alloc(envelope.HalvesSize); err != nil {
		return nil, err
	}
	if err := j.openFirst(ctx, o, p, f, members, mine); err != nil {
		o.seeds.Free()
		return nil, err
	}
	if o.ring, err = ring.New(p.Vault, o.identity, o.seeds, j.slab.Alloc); err != nil {
		return nil, err
	}
	return o, nil
}

// replaceable reports whether err refuses what no device of this version would use.
// Another device may use a fork, or a later version of the format.
func replaceable(err error) bool {
	stage := keyring.StageOf(err)
	return stage != keyring.StageFork && stage != keyring.StageVersion
}

// anything accepts every refusal of members.
func anything(error) bool { return true }

// acceptMembers verifies the chain, and that it extends what the device has seen.
func (j *job) acceptMembers(object []byte, vault id.Vault) (*keyring.Members, error) {
	members, err := keyring.ParseMembers(object, vault)
	if err != nil {
		return nil, err
	}
	return members, members.Extends(j.seen.Members)
}

// fetchOrKept reads the keyring from the backend, or returns the kept one if the
// backend is unreachable or not to be asked.
func (j *job) fetchOrKept(ctx context.Context, o *opened, p opener.Place, by factors) (backend.Keyring, error) {
	if by.kept && len(j.seen.Kept.Members) > 0 {
		return j.seen.Kept, nil
	}
	s, err := j.store(ctx, p)
	if err != nil {
		return backend.Keyring{}, err
	}
	f, err := fetchAll(ctx, s)
	if err != nil && by.off != nil && len(j.seen.Kept.Members) > 0 && unreachable(err) {
		o.offline, o.why = true, sorted(err)
		return j.seen.Kept, nil
	}
	return f, err
}

// factors are what opens an identity, except the master key's answer, and where it is found.
type factors struct {
	passphrase opener.File
	off        *opener.Offline // replaces what is unreachable; nil: nothing
	keep       int64           // how long to keep a share, in seconds
	kept       bool            // by the kept keyring, if there is one
}

// findIdentity finds an identity that the vault should have, and its unlock block.
func findIdentity(members *keyring.Members, want id.Identity) (me keyring.Identity, block keyring.UnlockBlock, err error) {
	me, ok := members.Identity(want)
	if !ok && !members.Removed(want) {
		return me, block, &opener.Error{
			Kind: opener.NotAdmitted, Message: fmt.Sprintf("identity %v of this device is not admitted to the vault yet", want),
			Next: "Have an owner admit its request (vigilctl identity admit); vigilctl identity request makes another one.",
		}
	}
	if !ok {
		return me, block, &opener.Error{
			Kind: opener.NotAMember, Message: fmt.Sprintf("identity %v was removed from the vault", want),
			Next: "Ask an owner of the vault to admit this device again.",
		}
	}
	block, ok = members.Unlock(want)
	if !ok {
		return me, block, errNoBlock(want)
	}
	return me, block, nil
}

func errNoBlock(identity id.Identity) error {
	return &opener.Error{Kind: opener.Damaged, Message: fmt.Sprintf("the keyring has no unlock block for identity %v", identity)}
}

func (j *job) openHalves(ctx context.Context, o *opened, p opener.Place, f factors, me keyring.Identity, block keyring.UnlockBlock) error {
	keys, err := j.slab.Alloc(3 * envelope.KeySize)
	if err != nil {
		return err
	}
	defer keys.Free()
	share, stretched, unlockKey := split(keys.Bytes())
	if err := j.bothFactors(ctx, o, p, f, block, share, stretched); err != nil {
		return err
	}
	if err := envelope.UnlockKey(unlockKey, share, stretched, p.Vault, me.ID, block.KDF); err != nil {
		return err
	}
	_, err = envelope.OpenHalves(o.seeds.Bytes(), unlockKey, &block.Halves, p.Vault, me.ID, me.Public)
	switch {
	case errors.Is(err, envelope.ErrWrongKey):
		return &opener.Error{
			Kind: opener.WrongPassphrase, Message: fmt.Sprintf("wrong passphrase for vault %q", p.Name),
			Next: "Try again. Nothing was changed.",
		}
	case err != nil:
		return err
	}
	o.share, o.digest = block.Share, shareDigest(share, p.Vault, me.ID)
	if o.offline {
		return nil // a kept share isn't kept again: its expiry stays
	}
	return j.keepShare(ctx, o, p, share, f.keep)
}

func split(b []byte) (share, stretched, unlockKey []byte) {
	const n = envelope.KeySize
	return b[:n:n], b[n : 2*n : 2*n], b[2*n : 3*n : 3*n]
}

// bothFactors fills share and stretched, concurrently: the master key and Argon2id
// both take time.
func (j *job) bothFactors(ctx context.Context, o *opened, p opener.Place, f factors, block keyring.UnlockBlock, share, stretched []byte) error {
	key, err := j.masterKey(ctx, p)
	if err != nil {
		return err
	}
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var shareErr error
	wg.Go(func() {
		shareErr = key.Decrypt(callCtx, share, block.Share, shareContext(p.Vault, o.identity))
		o.calls = key.Calls()
	})
	passErr := j.stretch(stretched, f.passphrase, block.KDF)
	if passErr != nil {
		cancel()
	}
	wg.Wait()
	switch {
	case passErr != nil:
		return passErr
	case shareErr != nil && unreachable(shareErr):
		return j.keptShare(ctx, o, p, f.off, share, shareErr)
	}
	return shareErr
}

// stretch reads a passphrase and runs Argon2id on it.
func (j *job) stretch(dst []byte, pass opener.File, k keyring.KDF) error {
	b, p, err := j.passphrase(pass)
	if err != nil {
		return err
	}
	defer b.Free()
	if len(dst) != passphrase.KeySize {
		return errors.New("stretch passphrase: wrong size")
	}
	return j.deriver.Derive(dst, p, k)
}
