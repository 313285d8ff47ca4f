package vault

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/master"
	"vigil/internal/opener"
	"vigil/internal/state"
)

// Blobs of the device state that unlocking without network stands on.
const (
	shareBlob  = "share"  // the share sealed under the device key, opener.KeptShare as JSON
	clockBlob  = "clock"  // the latest time this device has seen: 8 bytes, Unix seconds, big-endian
	deniedBlob = "denied" // the caller that was denied last
)

// remote tells whether the vault's master key or backend is behind a network.
// Where neither is, there's nothing to keep for the time without one.
func (v *Vault) remote() bool {
	c := v.config()
	m, err := master.ParseURI(c.Master)
	if err != nil || m.Scheme != master.SchemeLocal {
		return true
	}
	b, err := backend.ParseURI(c.Backend)
	return err != nil || b.Scheme != backend.SchemeFile
}

// offline returns what may stand in for what can't be reached, or nil.
func (v *Vault) offline(st *state.Vault) (*opener.Offline, error) {
	if v.config().Offline == 0 || !v.remote() {
		return nil, nil
	}
	off := &opener.Offline{Latest: latest(st)}
	blob, err := st.Blob(shareBlob)
	if errors.Is(err, state.ErrNone) {
		return nil, nil // without a kept share nothing limits how long this would go on
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(blob, &off.Share); err != nil {
		return nil, &state.CorruptError{File: shareBlob, Err: err}
	}
	return off, nil
}

// kept is the share that this device keeps for the time without network, or a
// zero one. It's for showing only.
func (v *Vault) kept(vaultID id.Vault) (k opener.KeptShare) {
	blob, err := v.d.State.Vault(vaultID).Blob(shareBlob)
	if err != nil || v.config().Offline == 0 || json.Unmarshal(blob, &k) != nil {
		return opener.KeptShare{}
	}
	return k
}

// keepOffline is how many seconds a share may be kept for; 0: none.
func (v *Vault) keepOffline() int64 {
	if !v.remote() {
		return 0
	}
	return int64(time.Duration(v.config().Offline) / time.Second)
}

// rememberShare keeps the share for the time without network, or drops what an
// earlier configuration kept.
func (v *Vault) rememberShare(ctx context.Context, st *state.Vault, u *opener.Unlocked) error {
	switch {
	case u.Keep != nil:
		blob, err := json.Marshal(u.Keep)
		if err != nil {
			return err
		}
		// Its end was counted from the clock as it is now, so that clock counts,
		// also when it was ahead of it before.
		v.setClock(ctx, st, time.Now().Unix())
		return st.SetBlob(ctx, shareBlob, blob)
	case v.keepOffline() == 0:
		return st.DropBlob(ctx, shareBlob)
	}
	return nil
}

// keepCreated is rememberShare for a vault that was just made and unlocked.
func (v *Vault) keepCreated(ctx context.Context, created *opener.Created) {
	if err := v.rememberShare(ctx, v.d.State.Vault(created.Vault), &opener.Unlocked{Keep: created.Keep}); err != nil {
		v.d.Log.Warn("no share is kept for the time without network", "vault", v.name, "err", err)
	}
}

// forgetOffline wipes what would unlock the vault without network.
func (v *Vault) forgetOffline(ctx context.Context, st *state.Vault) {
	if err := st.DropBlob(ctx, shareBlob); err != nil {
		v.d.Log.Error("the share kept for the time without network can't be forgotten", "vault", v.name, "err", err)
	}
}

// latest is the latest time that this device has seen, in Unix seconds.
func latest(st *state.Vault) int64 {
	b, err := st.Blob(clockBlob)
	if err != nil || len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// unlockedOffline tells whether the vault is open without network since it was
// unlocked, and why.
func (v *Vault) unlockedOffline() (why string, offline bool) {
	o, err := v.current()
	if err != nil {
		return "", false
	}
	return o.offlineWhy, o.access.Load().offline
}

// noteClock remembers the time, so that a clock that is set back later doesn't
// make a kept share good for longer.
func (v *Vault) noteClock(ctx context.Context, st *state.Vault) {
	if now := time.Now().Unix(); now > latest(st) {
		v.setClock(ctx, st, now)
	}
}

func (v *Vault) setClock(ctx context.Context, st *state.Vault, now int64) {
	v.keepBlob(ctx, st, clockBlob, binary.BigEndian.AppendUint64(nil, uint64(now)))
}

// keepBlob keeps what is good to have; a failure is logged.
func (v *Vault) keepBlob(ctx context.Context, st *state.Vault, name string, data []byte) {
	if err := st.SetBlob(ctx, name, data); err != nil {
		v.d.Log.Error("device state can't be written", "vault", v.name, "what", name, "err", err)
	}
}

// offlineLease is how long a vault that was unlocked without network stays so:
// until the share expires, by the latest time that the device has seen. It isn't
// zero, which would be no limit at all.
func offlineLease(off *opener.Offline) time.Duration {
	left := time.Duration(off.Share.Expires-max(time.Now().Unix(), off.Latest)) * time.Second
	return max(left, time.Second)
}
