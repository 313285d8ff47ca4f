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

// State blobs for unlocking without network.
const (
	shareBlob  = "share"  // the share sealed under the device key: opener.KeptShare as JSON
	clockBlob  = "clock"  // the latest time seen on this device: 8 bytes, Unix seconds, big-endian
	deniedBlob = "denied" // the caller that was last denied
)

// remote reports whether the vault's master key or backend needs a network. If
// neither does, no share is kept.
func (v *Vault) remote() bool {
	c := v.config()
	m, err := master.ParseURI(c.Master)
	if err != nil || m.Scheme != master.SchemeLocal {
		return true
	}
	b, err := backend.ParseURI(c.Backend)
	return err != nil || b.Scheme != backend.SchemeFile
}

// offline returns what an unlock without network needs, or nil if none is possible.
func (v *Vault) offline(st *state.Vault) (*opener.Offline, error) {
	if v.config().Offline == 0 || !v.remote() {
		return nil, nil
	}
	off := &opener.Offline{Latest: latest(st)}
	blob, err := st.Blob(shareBlob)
	if errors.Is(err, state.ErrNone) {
		return nil, nil // without a kept share nothing limits the time without network
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(blob, &off.Share); err != nil {
		return nil, &state.CorruptError{File: shareBlob, Err: err}
	}
	return off, nil
}

// kept returns the share that this device keeps, or zero. Use it only for display.
func (v *Vault) kept(vaultID id.Vault) (k opener.KeptShare) {
	blob, err := v.d.State.Vault(vaultID).Blob(shareBlob)
	if err != nil || v.config().Offline == 0 || json.Unmarshal(blob, &k) != nil {
		return opener.KeptShare{}
	}
	return k
}

// keepOffline returns how long a share may be kept, in seconds; 0: not at all.
func (v *Vault) keepOffline() int64 {
	if !v.remote() {
		return 0
	}
	return int64(time.Duration(v.config().Offline) / time.Second)
}

// rememberShare keeps the share for unlocks without network, or drops the kept one if
// the configuration no longer allows it.
func (v *Vault) rememberShare(ctx context.Context, st *state.Vault, u *opener.Unlocked) error {
	switch {
	case u.Keep != nil:
		blob, err := json.Marshal(u.Keep)
		if err != nil {
			return err
		}
		// The share's expiry was computed from the current clock, so record that,
		// even if an earlier one was ahead of it.
		v.setClock(ctx, st, time.Now().Unix())
		return st.SetBlob(ctx, shareBlob, blob)
	case v.keepOffline() == 0:
		return st.DropBlob(ctx, shareBlob)
	}
	return nil
}

// keepCreated is rememberShare for a vault that was just created and unlocked.
func (v *Vault) keepCreated(ctx context.Context, created *opener.Created) {
	if err := v.rememberShare(ctx, v.d.State.Vault(created.Vault), &opener.Unlocked{Keep: created.Keep}); err != nil {
		v.d.Log.Warn("no share is kept for the time without network", "vault", v.name, "err", err)
	}
}

// forgetOffline drops the kept share.
func (v *Vault) forgetOffline(ctx context.Context, st *state.Vault) {
	if err := st.DropBlob(ctx, shareBlob); err != nil {
		v.d.Log.Error("the share kept for the time without network can't be forgotten", "vault", v.name, "err", err)
	}
}

// latest returns the latest time that this device has seen, in Unix seconds.
func latest(st *state.Vault) int64 {
	b, err := st.Blob(clockBlob)
	if err != nil || len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// unlockedOffline reports whether the vault was unlocked without network and hasn't
// proved access since, and why.
func (v *Vault) unlockedOffline() (why string, offline bool) {
	o, err := v.current()
	if err != nil {
		return "", false
	}
	return o.offlineWhy, o.access.Load().offline
}

// noteClock records the time, so that setting the clock back doesn't extend a kept share.
func (v *Vault) noteClock(ctx context.Context, st *state.Vault) {
	if now := time.Now().Unix(); now > latest(st) {
		v.setClock(ctx, st, now)
	}
}

func (v *Vault) setClock(ctx context.Context, st *state.Vault, now int64) {
	v.keepBlob(ctx, st, clockBlob, binary.BigEndian.AppendUint64(nil, uint64(now)))
}

// keepBlob writes a blob that isn't essential; it logs a failure.
func (v *Vault) keepBlob(ctx context.Context, st *state.Vault, name string, data []byte) {
	if err := st.SetBlob(ctx, name, data); err != nil {
		v.d.Log.Error("device state can't be written", "vault", v.name, "what", name, "err", err)
	}
}

// offlineLease returns how long a vault unlocked without network stays unlocked: until the
// share expires, by the latest time seen. It is never zero, which would mean no limit.
func offlineLease(off *opener.Offline) time.Duration {
	left := time.Duration(off.Share.Expires-max(time.Now().Unix(), off.Latest)) * time.Second
	return max(left, time.Second)
}
