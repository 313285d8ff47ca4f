package job

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"time"

	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/master"
	"vigil/internal/opener"
)

// labelShare begins the context of a kept share. It is local to a device and isn't
// part of the vault format.
const labelShare = "vigil device share"

func keptContext(vault id.Vault, identity id.Identity, expires int64) envelope.Context {
	return envelope.NewContext(labelShare, vault[:], identity[:], envelope.Uint(uint64(expires)))
}

// keepShare seals the share for use without network.
func (j *job) keepShare(ctx context.Context, o *opened, p opener.Place, share []byte, seconds int64) error {
	if seconds <= 0 {
		return nil
	}
	k := &opener.KeptShare{Expires: time.Now().Unix() + seconds}
	var err error
	k.Sealed, o.deviceKey, err = j.device(p).Seal(ctx, keptContext(p.Vault, o.identity, k.Expires), share)
	if err != nil {
		return err
	}
	o.keep, k.Where = k, o.deviceKey
	return nil
}

// keptShare opens the kept share in place of the master key's answer, unless it has
// expired. cause is why the master key didn't answer.
func (j *job) keptShare(ctx context.Context, o *opened, p opener.Place, off *opener.Offline, share []byte, cause error) error {
	if off == nil || len(off.Share.Sealed) == 0 {
		return cause
	}
	if now := max(time.Now().Unix(), off.Latest); now >= off.Share.Expires {
		e := sorted(cause)
		e.Message += "; the share kept for the time without network has expired"
		return e
	}
	err := j.device(p).Open(ctx, share, keptContext(p.Vault, o.identity, off.Share.Expires), off.Share.Sealed)
	if err != nil {
		return errors.Join(cause, err)
	}
	o.offline, o.why = true, sorted(cause)
	return nil
}

// unreachable reports whether err may be caused by a missing network.
func unreachable(err error) bool {
	k := sorted(err).Kind
	return k == opener.Unreachable || k == opener.SignIn
}

// check has the master key decrypt the identity's share, and discards it.
func (j *job) check(ctx context.Context, req *opener.Check) (*opener.Checked, error) {
	key, err := j.masterKey(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	share, err := j.slab.Alloc(master.ShareSize)
	if err != nil {
		return nil, err
	}
	defer share.Free()
	if err := key.Decrypt(ctx, share.Bytes(), req.Share, shareContext(req.Place.Vault, req.Identity)); err != nil {
		return nil, err
	}
	digest := shareDigest(share.Bytes(), req.Place.Vault, req.Identity)
	guard.Wipe(share.Bytes())
	return &opener.Checked{Calls: key.Calls(), Digest: digest}, nil
}

// labelDigest begins what is hashed of a share. It isn't part of the vault format.
const labelDigest = "vigil share digest"

// shareDigest distinguishes shares: an attacker who redirects this process to another
// key management service can answer, but not with this identity's share.
func shareDigest(share []byte, vault id.Vault, identity id.Identity) (digest []byte) {
	guard.Do(func() {
		h := hmac.New(sha256.New, share)
		h.Write([]byte(labelDigest))
		h.Write(vault[:])
		h.Write(identity[:])
		digest = h.Sum(nil)
	})
	return digest
}
