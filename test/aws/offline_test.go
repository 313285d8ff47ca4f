package aws

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/opener"
	"vigil/internal/state"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// offlineVault makes a vault with a key, locks it, and cuts the network.
func offlineVault(t *testing.T, settings ...string) (w *world, l *laptop, reconnect func()) {
	w = newWorld(t)
	l = w.laptop(w.alice, settings...)
	l.init()
	l.Unlock()
	l.AddKey("work")
	l.OK("lock")
	return w, l, w.faults("", awsfake.Fault{Drop: true})
}

// deviceState is the state of the default vault on this device.
func (l *laptop) deviceState() *state.Vault {
	l.Helper()
	s, err := state.Open(filepath.Join(l.Dir, "state", "vigil"))
	if err != nil {
		l.Fatal(err)
	}
	names, err := s.Names()
	if err != nil {
		l.Fatal(err)
	}
	return s.Vault(names["default"])
}

// TestOfflineUnlock: without network the kept share unlocks, and says so.
func TestOfflineUnlock(t *testing.T) {
	w, l, reconnect := offlineVault(t)
	r := l.OK(l.By("unlock")...)
	if !strings.Contains(r.Out, "offline") || !strings.Contains(r.Err, "without network") {
		t.Errorf("unlock doesn't say that it is one without network: %s", r)
	}
	v := l.Vault()
	if !v.Offline || v.State != control.VaultUnlocked {
		t.Errorf("status: %+v", v)
	}
	if left := time.Until(*v.LeaseEnds); left > 12*time.Hour || left < 11*time.Hour || v.LastProof != nil {
		t.Errorf("the lease ends in %v, want 12 hours; last proof %v, want none", left, v.LastProof)
	}
	l.Signs("work")
	if v.DeviceKey != "file" || v.OfflineUntil == nil || v.OfflineUntil.Unix() != keptShare(t, l).Expires {
		t.Errorf("status says of the kept share: until %v, device key in %q", v.OfflineUntil, v.DeviceKey)
	}
	if out := l.OK("status").Out; !strings.Contains(out, "device key in: file") {
		t.Errorf("status doesn't say where the device key is: %s", out)
	}
	decrypts := 0
	for _, e := range w.cloud.Exchanges() {
		if e.Action == "kms:Decrypt" && e.Status == 200 {
			decrypts++
		}
	}
	if decrypts != 1 {
		t.Errorf("%d shares were decrypted, want 1 of before", decrypts)
	}
	// A wrong passphrase is one here, too.
	l.OK("lock")
	l.Write("pass", "wrong\n")
	l.Fails(sshtest.StatusWrong, nil, l.By("unlock")...)
	l.Write("pass", passphrase+"\n")
	l.Restart()
	l.Unlock()
	reconnect()
	l.OK("refresh")
	if v := l.Vault(); v.Offline {
		t.Error("still offline after a refresh that reached both")
	}
}

// TestOfflineHalf: one of KMS and backend is enough for the other to stand in.
func TestOfflineHalf(t *testing.T) {
	for _, cut := range []string{"kms:", "s3:"} {
		t.Run(cut, func(t *testing.T) {
			w, l, reconnect := offlineVault(t)
			reconnect()
			defer w.faults(cut, awsfake.Fault{Drop: true})()
			if r := l.OK(l.By("unlock")...); !strings.Contains(r.Err, "without network") {
				t.Errorf("unlock says %s", r)
			}
			l.Signs("work")
		})
	}
}

// TestOfflineOff: `offline = "0"` keeps no share.
func TestOfflineOff(t *testing.T) {
	_, l, _ := offlineVault(t, `offline = "0"`)
	l.Fails(sshtest.StatusUnreachable, []string{"unreachable"}, l.By("unlock")...)
	if _, err := l.deviceState().Blob("share"); err == nil {
		t.Error("a share is kept")
	}
}

// TestOfflineSwitchedOff: a share that was kept is dropped and not used.
func TestOfflineSwitchedOff(t *testing.T) {
	_, l, reconnect := offlineVault(t)
	l.configure(`offline = "0"`)
	l.Restart()
	l.Fails(sshtest.StatusUnreachable, nil, l.By("unlock")...)
	reconnect()
	l.Unlock()
	if _, err := l.deviceState().Blob("share"); err == nil {
		t.Error("a share is still kept")
	}
}

// TestOfflineEnds: the kept share has an end.
func TestOfflineEnds(t *testing.T) {
	w, l, _ := offlineVault(t, `offline = "3s"`)
	share := keptShare(t, l)
	sshtest.Eventually(w, "the share expires", func() error {
		if time.Now().Unix() >= share.Expires {
			return nil
		}
		return os.ErrDeadlineExceeded
	})
	l.Fails(sshtest.StatusUnreachable, []string{"expired"}, l.By("unlock")...)
}

// TestOfflineLeaseEnds: an unlock without network lasts no longer than the share.
func TestOfflineLeaseEnds(t *testing.T) {
	_, l, _ := offlineVault(t)
	l.seen(keptShare(t, l).Expires - 5)
	l.Unlock()
	l.becomes(control.VaultLocked)
	if err := l.Sign("work"); err == nil {
		t.Error("it signs after the end of offline")
	}
	if why := l.OK("why").Out; !strings.Contains(why, "without network is over") {
		t.Errorf("why says %s", why)
	}
}

// seen makes at, in Unix seconds, the latest time that the device has seen.
func (l *laptop) seen(at int64) {
	l.Helper()
	if err := l.deviceState().SetBlob(l.w.Context(), "clock", binary.BigEndian.AppendUint64(nil, uint64(at))); err != nil {
		l.Fatal(err)
	}
}

func keptShare(t *testing.T, l *laptop) (k opener.KeptShare) {
	t.Helper()
	blob, err := l.deviceState().Blob("share")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(blob, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestClockSetBack: the latest time that the device has seen counts. This
// machine's clock can't be set here, so the seen time is: as if the clock had
// been a week ahead of what it shows now.
func TestClockSetBack(t *testing.T) {
	_, l, _ := offlineVault(t)
	share := keptShare(t, l)
	// A minute before the end, by what was seen: it unlocks, for a minute.
	l.seen(share.Expires - 60)
	l.Unlock()
	if left := time.Until(*l.Vault().LeaseEnds); left > time.Minute {
		t.Errorf("the lease ends in %v although the share, by the latest time seen, ends in a minute", left)
	}
	l.OK("lock")
	l.seen(share.Expires)
	l.Fails(sshtest.StatusUnreachable, []string{"expired"}, l.By("unlock")...)
}

// TestOfflineTimeIsSeen: unlocking without network moves the latest time seen,
// or setting the clock back between two of them would go unnoticed.
func TestOfflineTimeIsSeen(t *testing.T) {
	_, l, _ := offlineVault(t)
	l.seen(time.Now().Add(-time.Hour).Unix())
	l.Unlock()
	b, err := l.deviceState().Blob("clock")
	if err != nil {
		t.Fatal(err)
	}
	if at := time.Unix(int64(binary.BigEndian.Uint64(b)), 0); time.Since(at) > time.Minute {
		t.Errorf("the latest time seen is %v", at)
	}
}

// TestExtendedShare: the share's end is part of its seal.
func TestExtendedShare(t *testing.T) {
	_, l, _ := offlineVault(t)
	share := keptShare(t, l)
	share.Expires += 24 * 3600
	blob, err := json.Marshal(share)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.deviceState().SetBlob(t.Context(), "share", blob); err != nil {
		t.Fatal(err)
	}
	if r := l.Vigilctl(l.By("unlock")...); r.Status == sshtest.StatusDone || l.Vault().State == control.VaultUnlocked {
		t.Errorf("a share with a later end than it was sealed with: %s", r)
	}
}

// TestShareOfAnotherDevice: what the device keeps is of no use elsewhere.
func TestShareOfAnotherDevice(t *testing.T) {
	w, l, _ := offlineVault(t)
	thief := w.newHome(w.cloud.AddUser("thief", onlyS3))
	thief.copyVault(l)
	for _, dir := range []string{"vaults", ""} {
		entries, err := filepath.Glob(filepath.Join(l.Dir, "state", "vigil", dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			copyTree(t, e, filepath.Join(thief.Dir, "state", "vigil", dir, filepath.Base(e)))
		}
	}
	thief.Start()
	if r := thief.Vigilctl(thief.By("unlock")...); r.Status == sshtest.StatusDone {
		t.Errorf("state without the device key unlocks: %s", r)
	}
	var zero id.Vault
	if thief.deviceState().ID() == zero {
		t.Error("the state wasn't copied: this test shows nothing")
	}
}

// copyTree copies files and folders but sockets.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
