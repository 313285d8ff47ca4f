package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vigil/internal/backend"
	"vigil/internal/checkup"
	"vigil/internal/device"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/opener"
)

// maxSkew is how far the clock may be off without a warning: AWS accepts requests
// that are up to 5 minutes off, and certificates have validity times.
const maxSkew = 2 * time.Minute

// diagnose tests the backend and the master key concurrently, each as far as possible.
func (j *job) diagnose(ctx context.Context, req *opener.Diagnose) (*opener.Diagnosis, error) {
	d := &opener.Diagnosis{}
	key, keyErr := j.masterKey(ctx, req.Place)
	var described checkup.Check
	var describe sync.WaitGroup
	if keyErr == nil {
		describe.Go(func() { described = describeKey(ctx, key) })
	} else {
		described = failed("master key", keyErr)
	}
	store, checks, members := j.examineBackend(ctx, req)
	describe.Wait()
	d.Checks = append(checks, described)
	if keyErr == nil {
		operations := key.Calls().Operations
		d.Checks = append(d.Checks, j.tryShare(ctx, key, req, members))
		d.Calls = key.Calls()
		d.Decrypts = int64(d.Calls.Operations - operations)
		if c, ok := skewed(key, store); ok {
			d.Checks = append(d.Checks, c)
		}
	}
	d.Checks = append(d.Checks, j.examineDevice(ctx, req.Place))
	return d, nil
}

// failed returns a check that failed with err.
func failed(what string, err error) checkup.Check {
	e := sorted(err)
	next := e.Next
	switch {
	case e.Kind == opener.Missing:
		next = "Put the keyring back from a backup: without it the vault can't be opened."
	case next == "":
		next = "vigilctl why, and the daemon's log, may say more."
	}
	return checkup.Failure(what, next, "%s", e.Message)
}

// examineBackend checks the backend and the keyring in it.
func (j *job) examineBackend(ctx context.Context, req *opener.Diagnose) (backend.Store, []checkup.Check, *keyring.Members) {
	store, err := j.store(ctx, req.Place)
	if err != nil {
		return nil, []checkup.Check{failed("backend", err)}, nil
	}
	keyringCheck, members := examineKeyring(ctx, store, req)
	checks := []checkup.Check{keyringCheck}
	switch err := store.Probe(ctx); {
	case errors.Is(err, fault.ErrDenied) && members != nil:
		checks = append(checks, checkup.Warning("backend", sorted(err).Next, "%s can be read, but not written: %v", req.Place.Backend, err))
	case err != nil:
		checks = append(checks, failed("backend", err))
	default:
		checks = append(checks, checkup.Fine("backend", "%s answers, and keeps compare-and-swap", req.Place.Backend))
	}
	return store, append(checks, examineRetention(ctx, store)), members
}

func examineKeyring(ctx context.Context, store backend.Store, req *opener.Diagnose) (checkup.Check, *keyring.Members) {
	const what = "keyring"
	f, err := fetchAll(ctx, store)
	if err != nil {
		return failed(what, err), nil
	}
	members, err := keyring.ParseMembers(f.Members, req.Place.Vault)
	if err != nil {
		return failed(what, fmt.Errorf("verify keyring: %w", err)), nil
	}
	deks, err := keyring.ParseDeks(f.Deks, req.Place.Vault)
	if err != nil {
		return failed(what, fmt.Errorf("verify keyring: %w", err)), members
	}
	return checkup.Fine(what, "%s, %s, epoch %d", checkup.Count(len(members.Identities()), "identity"), checkup.Count(len(deks.All()), "key"), deks.Epoch()), members
}

func examineRetention(ctx context.Context, store backend.Store) checkup.Check {
	const what = "retention"
	r, err := store.Retention(ctx)
	switch {
	case err != nil:
		return failed(what, err)
	case r.Unknown != "":
		return checkup.Warning(what, "Check yourself: old versions hold the keys of removed items. docs/aws.md has a lifecycle rule.", "%s", r.Unknown)
	case r.Forever():
		return checkup.Warning(what, "Add a lifecycle rule that ends noncurrent versions, after 30 days say (docs/aws.md).",
			"replaced keyrings are kept for ever, and with them the keys of removed items")
	case !r.Versioned:
		return checkup.Warning(what, "Switch versioning on, with a lifecycle rule that ends old versions (docs/aws.md), or keep backups of the keyring.",
			"replaced keyrings aren't kept: what is overwritten or deleted there is gone")
	case r.Days > 0:
		return checkup.Fine(what, "replaced keyrings are kept for %s", checkup.Count(r.Days, "day"))
	}
	return checkup.Fine(what, "the last %d keyrings are kept", r.Generations)
}

func describeKey(ctx context.Context, key master.Key) checkup.Check {
	d, err := key.Check(ctx)
	if errors.Is(err, fault.ErrDenied) {
		// Unlocking doesn't need kms:DescribeKey; the next check shows whether it works.
		return checkup.Warning("master key", sorted(err).Next, "it can't be described: %v", err)
	}
	if err != nil {
		return failed("master key", err)
	}
	return checkup.Fine("master key", "%s", d.Detail)
}

// tryShare has the master key decrypt the identity's share, as an unlock does.
func (j *job) tryShare(ctx context.Context, key master.Key, req *opener.Diagnose, members *keyring.Members) checkup.Check {
	const what = "access"
	if members == nil {
		return checkup.Warning(what, "Repair the keyring first.", "not tried: there is no keyring to take the share from")
	}
	place := req.Place
	place.Identity = req.Identity
	mine, err := j.mine(ctx, place, members)
	if err != nil {
		return failed(what, err)
	}
	me, block, err := findIdentity(members, mine[0])
	if err != nil {
		return failed(what, err)
	}
	share, err := j.slab.Alloc(master.ShareSize)
	if err != nil {
		return failed(what, err)
	}
	defer share.Free()
	if err := key.Decrypt(ctx, share.Bytes(), block.Share, shareContext(req.Place.Vault, me.ID)); err != nil {
		return failed(what, err)
	}
	guard.Wipe(share.Bytes())
	return checkup.Fine(what, "the master key decrypts the share of identity %v with its context", me.ID)
}

// skewed compares this machine's clock with a service's.
func skewed(places ...any) (checkup.Check, bool) {
	for _, p := range places {
		c, ok := p.(interface{ Skew() (time.Duration, bool) })
		if !ok {
			continue
		}
		ahead, ok := c.Skew()
		switch {
		case !ok:
			continue
		case ahead.Abs() > maxSkew:
			return checkup.Warning("clock", "Set this machine's clock: services refuse requests that are minutes off, and leases end at the wrong time.",
				"it is %v off from the service's", ahead), true
		}
		return checkup.Fine("clock", "within %v of the service's", maxSkew), true
	}
	return checkup.Check{}, false
}

// examineDevice says where this device's own key is.
func (j *job) examineDevice(ctx context.Context, p opener.Place) checkup.Check {
	const what = "device key"
	where, err := j.device(p).Where(ctx)
	switch {
	case errors.Is(err, device.ErrNoKey):
		return checkup.Fine(what, "none is needed yet")
	case err != nil:
		return failed(what, err)
	case where == device.InFile:
		return checkup.Fine(what, "in a file of %s: whoever reads this disk needs the passphrase alone for an unlock without network", p.DeviceDir)
	}
	return checkup.Fine(what, "in the %s", where)
}
