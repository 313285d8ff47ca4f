package attack

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/opener"
	"vigil/internal/state"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/sshtest"
)

// leased is a home whose vault has its master key in an emulated KMS and its
// keyring in a folder, so that each can be cut off without the other. The vault
// has the key "work" and is locked.
type leased struct {
	*sshtest.Home

	cloud *awsfake.Cloud
	kms   *kmsfake.Server
	key   string // the master key's ARN

	forge atomic.Bool // Decrypt is answered by somebody who isn't the KMS

	junk int
}

func newLeased(t *testing.T, settings ...string) *leased {
	t.Helper()
	t.Parallel()
	l := &leased{cloud: awsfake.New()}
	l.kms = kmsfake.New(l.cloud)
	l.key = l.kms.CreateKey("alias/vigil")
	served := httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(served.Close)
	l.Home = sshtest.NewHome(t, ownerPassphrase, l.cloud.AddUser("owner").Env()...)
	l.Write("config/vigil/config.toml", "[vault.default]\n"+strings.Join(settings, "\n")+"\n")
	uri, _ := sshtest.NewShared(t)
	l.Start()
	l.OK(append(l.By("init", "--backend", uri, "--master", "awskms:///"+l.key+"?endpoint="+url.QueryEscape(served.URL)), sshtest.CheapKDF...)...)
	l.Unlock()
	l.AddKey("work")
	l.OK("lock")
	return l
}

// serve is the KMS, or whoever answers in its place.
func (l *leased) serve(w http.ResponseWriter, r *http.Request) {
	if !l.forge.Load() || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".Decrypt") {
		l.kms.ServeHTTP(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"KeyId": l.key, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
		"Plaintext": base64.StdEncoding.EncodeToString(make([]byte, 32)),
	})
}

// cut cuts the KMS off.
func (l *leased) cut() {
	l.cloud.SetFault(func(awsfake.Call) awsfake.Fault { return awsfake.Fault{Drop: true} })
}

func (l *leased) reconnect() { l.cloud.SetFault(nil) }

// addJunk puts a line into the vault file whose revision nobody ever made.
func (l *leased) addJunk() {
	l.Helper()
	text := string(l.Read(l.VaultFile()))
	const before = `"revision":"`
	at := strings.Index(text, before) + len(before)
	line := text[strings.LastIndexByte(text[:at], '\n')+1:]
	line = line[:strings.IndexByte(line, '\n')+1]
	at = strings.Index(line, before) + len(before)
	var revision id.Revision
	l.junk++
	binary.BigEndian.PutUint64(revision[:], uint64(l.junk))
	line = line[:at] + revision.String() + line[at+len(revision.String()):]
	l.Write("junk.jsonl", text+line)
	if err := os.Rename(l.Path("junk.jsonl"), l.VaultFile()); err != nil {
		l.Fatal(err)
	}
}

// fetches adds junk until the daemon has looked at the backend for its sake.
func (l *leased) fetches() {
	l.Helper()
	before := *l.Vault().LastRefresh
	l.addJunk()
	sshtest.Eventually(l, "the keyring is fetched", func() error {
		v := l.Vault()
		if v.LastRefresh == nil {
			l.Fatalf("the vault is %s: %s", v.State, v.Problem)
		}
		if v.LastRefresh.Equal(before) {
			return errors.New("not yet")
		}
		return nil
	})
}

// share is what the device keeps for the time without network.
func (l *leased) share() (st *state.Vault, k opener.KeptShare) {
	l.Helper()
	s, err := state.Open(filepath.Join(l.Dir, "state", "vigil"))
	if err != nil {
		l.Fatal(err)
	}
	st = s.Vault(l.VaultID())
	blob, err := st.Blob("share")
	if err != nil {
		l.Fatal(err)
	}
	if err := json.Unmarshal(blob, &k); err != nil {
		l.Fatal(err)
	}
	return st, k
}

// expiring unlocks the vault without the KMS, when the kept share has left to go.
func (l *leased) expiring(left time.Duration) {
	l.Helper()
	st, share := l.share()
	seen := share.Expires - int64(left/time.Second)
	if err := st.SetBlob(l.Context(), "clock", binary.BigEndian.AppendUint64(nil, uint64(seen))); err != nil {
		l.Fatal(err)
	}
	l.cut()
	l.Unlock()
	if v := l.Vault(); !v.Offline {
		l.Fatalf("not unlocked without network: %+v", v)
	}
}

// becomes waits until the vault is in a state.
func (l *leased) becomes(state control.VaultState) {
	l.Helper()
	sshtest.Eventually(l, "the vault becomes "+string(state), func() error {
		if v := l.Vault(); v.State != state {
			return fmt.Errorf("it is %s, lease until %v: %s", v.State, v.LeaseEnds, v.Problem)
		}
		return nil
	})
}

// TestAFetchIsNoProof: who can write the vault file, a sync tool or a program of
// the same user, makes the daemon look at the backend at will. With the KMS cut
// off, that must not move the end of the lease (promise 5).
func TestAFetchIsNoProof(t *testing.T) {
	l := newLeased(t)
	l.Unlock()
	lease := *l.Vault().LeaseEnds
	l.cut()
	for range 2 {
		l.fetches()
	}
	if v := l.Vault(); !v.LeaseEnds.Equal(lease) {
		t.Errorf("the backend alone moved the lease's end from %v to %v", lease, v.LeaseEnds)
	}
	l.Signs("work")
	l.reconnect()
	l.OK("refresh")
	if v := l.Vault(); !v.LeaseEnds.After(lease) {
		t.Errorf("a proof left the lease's end where it was, at %v", lease)
	}
}

// TestALeaseEndsUnderAStreamOfChanges: the same attacker writes without end, to
// keep the vault open with the KMS cut off, or to leave the daemon no time to ask
// the KMS, which has the key disabled (promise 5).
func TestALeaseEndsUnderAStreamOfChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings []string
		revoke   func(*leased)
		want     control.VaultState
	}{
		"cut off":  {[]string{`lease = "6s"`, `check = "1s"`, `refresh = "2s"`}, (*leased).cut, control.VaultLocked},
		"disabled": {[]string{`check = "1s"`, `refresh = "3s"`}, func(l *leased) { l.kms.SetState(l.key, kmsfake.Disabled) }, control.VaultRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeased(t, c.settings...)
			l.Unlock()
			c.revoke(l)
			end := make(chan struct{})
			var stream sync.WaitGroup
			stream.Go(func() {
				pace := time.NewTicker(700 * time.Millisecond) // more often than it refreshes
				defer pace.Stop()
				for { // until the vault is locked, or becomes has waited long enough
					l.addJunk()
					select {
					case <-pace.C:
					case <-end:
						return
					}
				}
			})
			defer stream.Wait()
			defer close(end)
			l.becomes(c.want)
			if err := l.Sign("work"); err == nil {
				t.Error("a key signs without a lease")
			}
		})
	}
}

// TestAnOfflineUnlockIsNoCheck: a share that is kept for a little longer unlocks
// once more, and then the backend answers. That must not make a lease of it, and
// the next refresh asks the KMS (promise 5).
func TestAnOfflineUnlockIsNoCheck(t *testing.T) {
	l := newLeased(t, `refresh = "1s"`, `check = "1h"`)
	l.expiring(2 * time.Minute)
	lease := *l.Vault().LeaseEnds
	if left := time.Until(lease); left > 2*time.Minute {
		t.Errorf("the share has 2 minutes left, the lease %v", left)
	}
	l.fetches()
	if v := l.Vault(); !v.Offline || !v.LeaseEnds.Equal(lease) || v.LastProof != nil {
		t.Errorf("after the backend answered: offline %v, lease until %v, it was %v, last proof %v", v.Offline, v.LeaseEnds, lease, v.LastProof)
	}
	l.kms.SetState(l.key, kmsfake.Disabled)
	l.reconnect()
	l.becomes(control.VaultRevoked) // by a refresh that asked, though a check every hour is enough otherwise
}

// TestALeaseCountsFromTheRequest: whoever can hold the KMS's answer back must not
// gain what they held it for (promise 5).
func TestALeaseCountsFromTheRequest(t *testing.T) {
	const held = 3 * time.Second
	l := newLeased(t)
	l.Unlock()
	asked := make(chan time.Time, 1)
	l.cloud.SetFault(func(awsfake.Call) awsfake.Fault {
		select {
		case asked <- time.Now():
		default: // once more, as an opener does
		}
		return awsfake.Fault{Delay: held}
	})
	l.OK("refresh")
	sent := <-asked
	v := l.Vault()
	if late := v.LeaseEnds.Add(-12 * time.Hour).Sub(sent); late > held/2 {
		t.Errorf("the lease counts from %v after the request", late)
	}
	if v.LastProof == nil || v.LastProof.Sub(sent) > held/2 {
		t.Errorf("the last proof was at %v, asked for at %v", v.LastProof, sent)
	}
}

// TestAnyAnswerIsNoProof: a program of the same user leads the opener to a KMS of
// its own, by endpoint_url in ~/.aws/config, which answers Decrypt with anything
// (promise 5).
func TestAnyAnswerIsNoProof(t *testing.T) {
	l := newLeased(t)
	l.Unlock()
	lease := *l.Vault().LeaseEnds
	l.forge.Store(true)
	l.Fails(sshtest.StatusUnreachable, []string{"doesn't know this identity's share"}, "refresh")
	if v := l.Vault(); v.LeaseEnds == nil || v.LeaseEnds.After(lease) {
		t.Errorf("it moved the lease's end from %v to %v", lease, v.LeaseEnds)
	}
}

// TestALeaseThatCannotBeHeld: a lease that ends before the next check is due
// would be renewed by nothing but the backend, so there is none (promise 5).
func TestALeaseThatCannotBeHeld(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	h.Write("config/vigil/config.toml", "[vault.default]\ncheck = \"1h\"\nlease = \"10m\"\n")
	a, err := sshtest.StartVigild(h.Dir, sshtest.Binary(h, "vigild"), h.Env...)
	if err == nil {
		_ = a.Close()
		t.Fatal("vigild runs with a lease that nothing can renew in time")
	}
	log := string(h.Read(h.Path("agent.log")))
	if !strings.Contains(log, "config.toml:3: ") || !strings.Contains(log, `"1h6m"`) {
		t.Errorf("vigild doesn't say where, and what would do: %s", log)
	}
}
