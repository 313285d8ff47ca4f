package aws

import (
	"crypto/sha1" // as the SDK names a cached token's file
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/sshtest"
)

// TestKMSFaultsAtUnlock: what a user who unlocks sees of each fault, where no
// share is kept for the time without network.
func TestKMSFaultsAtUnlock(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice, `offline = "0"`)
	l.init()
	api := func(status int, code, message string) func() func() {
		return func() func() {
			return w.faults("kms:", awsfake.Fault{Status: status, Code: code, Message: message})
		}
	}
	state := func(state string) func() func() {
		return func() func() {
			w.kms.SetState(w.arn, state)
			return func() { w.kms.SetState(w.arn, kmsfake.Enabled) }
		}
	}
	for _, tc := range []struct {
		name   string
		do     func() (undo func())
		status int
		texts  []string
	}{
		{"down", func() func() { return w.faults("kms:", awsfake.Fault{Drop: true}) }, sshtest.StatusUnreachable, []string{"master key unreachable", "Check the network"}},
		{"no answer to what was done", func() func() { return w.faults("kms:", awsfake.Fault{Drop: true, After: true}) }, sshtest.StatusUnreachable, []string{"master key unreachable"}},
		{"internal error", api(500, "KMSInternalException", "oops"), sshtest.StatusUnreachable, []string{"KMSInternalException: oops", "request id"}},
		{"throttling", api(400, "ThrottlingException", "Rate exceeded"), sshtest.StatusUnreachable, []string{"ThrottlingException", "request id", "tried again"}},
		{"clock far off", api(400, "InvalidSignatureException", "Signature expired: 20200101T000000Z is now earlier than …"), sshtest.StatusFailed, []string{"misconfigured", "Set this machine's clock"}},
		{"disabled", state(kmsfake.Disabled), sshtest.StatusRefused, []string{"DisabledException", "request id", "enabled"}},
		{"pending deletion", state(kmsfake.PendingDeletion), sshtest.StatusRefused, []string{"pending deletion", "request id"}},
		{"pending import", state(kmsfake.PendingImport), sshtest.StatusRefused, []string{"pending import", "request id"}},
		{"unavailable", state(kmsfake.Unavailable), sshtest.StatusUnreachable, []string{"unavailable", "request id"}},
		{"not allowed", func() func() {
			l.signInAs(w.cloud.AddUser("bob", onlyS3))
			return func() { l.signInAs(w.alice) }
		}, sshtest.StatusRefused, []string{"user/bob", "kms:Decrypt", "request id", "access"}},
		{"other context only", func() func() {
			l.signInAs(w.cloud.AddUser("dave", onlyS3, `{"Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:vigil:vault":"another"}}}]}`))
			return func() { l.signInAs(w.alice) }
		}, sshtest.StatusRefused, []string{"user/dave", "AccessDenied"}},
		{"session ended", func() func() {
			l.signInAs(w.cloud.AddSession("role", "s", -time.Minute))
			return func() { l.signInAs(w.alice) }
		}, sshtest.StatusUnreachable, []string{"sign in needed", "Sign in to AWS again"}},
		{"no credentials", func() func() {
			l.Write("aws-credentials", "")
			return func() { l.signInAs(w.alice) }
		}, sshtest.StatusUnreachable, []string{"sign in needed"}},
	} {
		undo := tc.do()
		r := l.Fails(tc.status, tc.texts, l.By("unlock")...)
		undo()
		if strings.Contains(r.Err, "panic") || len(r.Err) > 2000 {
			t.Errorf("%s: %s", tc.name, r)
		}
		if v := l.Vault(); v.State == control.VaultUnlocked {
			t.Errorf("%s: the vault is unlocked", tc.name)
		}
		if t.Failed() {
			t.Fatalf("at %s", tc.name)
		}
	}
	l.Unlock() // nothing of it stays
}

// TestKMSSlow: an answer that takes its time is waited for, while Argon2id runs.
func TestKMSSlow(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.init()
	defer w.faults("kms:", awsfake.Fault{Delay: 1500 * time.Millisecond})()
	l.Unlock()
	if n := w.cloud.Count("kms:Decrypt"); n != 1 {
		t.Errorf("%d Decrypts", n)
	}
}

// TestKMSHangs: a KMS that never answers costs a bounded time, and then the kept
// share unlocks.
func TestKMSHangs(t *testing.T) {
	if os.Getenv(realClients) == "" {
		t.Skip("takes 20 s and more; runs in make test-aws")
	}
	w, l, reconnect := offlineVault(t)
	reconnect()
	defer w.faults("kms:", awsfake.Fault{Delay: time.Hour})()
	began := time.Now()
	if r := l.OK(l.By("unlock")...); !strings.Contains(r.Err, "without network") {
		t.Errorf("unlock says %s", r)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestThrottlingPasses: two refusals, then an answer.
func TestThrottlingPasses(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.init()
	busy := awsfake.Fault{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"}
	c := &nth{at: map[int]awsfake.Fault{1: busy, 2: busy}}
	w.cloud.SetFault(func(call awsfake.Call) awsfake.Fault {
		if call.Action != "kms:Decrypt" {
			return awsfake.Fault{}
		}
		return c.fault(call)
	})
	l.Unlock()
	if calls := l.Status().KMSCalls; calls.Decrypt != 1 || c.count() != 3 {
		t.Errorf("status counts %d Decrypts for one operation in %d attempts", calls.Decrypt, c.count())
	}
}

// TestClockOff: a clock that is an hour off is corrected by AWS's answers.
func TestClockOff(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			w := newWorld(t)
			l := w.laptop(w.alice)
			l.init()
			w.cloud.SetClock(func() time.Time { return time.Now().Add(off) })
			l.Unlock()
			l.AddKey("work")
			l.OK("refresh")
			l.Signs("work")
		})
	}
}

// TestWrongRegion: a key of another region, and an alias that isn't there.
func TestWrongRegion(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	elsewhere := strings.Replace(w.arn, awsfake.Region, "us-west-2", 1)
	for key, texts := range map[string][]string{
		elsewhere:                              {"misconfigured", "region"},
		"alias/nothing":                        {"misconfigured", "Check the key id and the region"},
		"00000000-0000-0000-0000-000000000000": {"misconfigured", "Check the key id and the region"},
		w.kms.CreateSigningKey():               {"misconfigured", "SYMMETRIC_DEFAULT"},
	} {
		args := append([]string{"init", "--master", w.master(key), "--backend", w.backend(), "--passphrase-file", l.Pass}, sshtest.CheapKDF...)
		l.Fails(sshtest.StatusFailed, texts, args...)
		if w.s3.Object(prefix+"/members") != nil {
			t.Fatalf("init with master key %s stored a keyring", key)
		}
		if _, err := os.Stat(l.VaultFile()); err == nil {
			t.Errorf("init with master key %s left a vault file", key)
		}
	}
	l.init() // and nothing of it is in the way
	l.Unlock()
}

// TestAliasMoved: an alias that leads to another key by now.
func TestAliasMoved(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(append([]string{"init", "--master", w.master("alias/vigil"), "--backend", w.backend(), "--passphrase-file", l.Pass}, sshtest.CheapKDF...)...)
	w.kms.PointAlias("alias/vigil", w.kms.CreateKey())
	l.Fails(sshtest.StatusFailed, []string{"misconfigured", "alias"}, l.By("unlock")...)
	w.kms.PointAlias("alias/vigil", w.arn)
	l.Unlock()
}

// TestSignInNeededWhileOpen: an expired session doesn't lock; status says that
// somebody must sign in, and why.
func TestSignInNeededWhileOpen(t *testing.T) {
	w := newWorld(t)
	session := w.cloud.AddSession("member", "alice", time.Hour)
	l := w.laptop(session, quick...)
	l.OK(l.initArgs("--unlock")...)
	l.AddKey("work")
	w.cloud.SetClock(func() time.Time { return time.Now().Add(2 * time.Hour) }) // it has expired
	sshtest.Eventually(w, "status says sign in needed", func() error {
		if v := l.Vault(); !strings.Contains(v.Problem, "sign in needed") || v.Next == "" {
			return fmt.Errorf("problem %q, next %q", v.Problem, v.Next)
		}
		return nil
	})
	if v := l.Vault(); v.State != control.VaultUnlocked {
		t.Errorf("vault is %s", v.State)
	}
	l.Signs("work")
	l.signInAs(w.cloud.AddSession("member", "alice", 4*time.Hour))
	sshtest.Eventually(w, "it is well again", func() error {
		if v := l.Vault(); v.Problem != "" {
			return fmt.Errorf("problem %q", v.Problem)
		}
		return nil
	})
}

// TestExpiredSSO: a profile of IAM Identity Center whose token has expired.
func TestExpiredSSO(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice, `offline = "0"`)
	l.init()
	l.Write("aws-credentials", "")
	l.Write("aws-config", "[default]\nregion = "+awsfake.Region+"\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = member\n"+
		"[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.example.com/start\n")
	texts := []string{"sign in needed", "aws sso login"}
	l.Fails(sshtest.StatusUnreachable, texts, l.By("unlock")...) // never signed in
	name := sha1.Sum([]byte("corp"))
	l.Write(".aws/sso/cache/"+hex.EncodeToString(name[:])+".json",
		`{"accessToken":"x","expiresAt":"2020-01-01T00:00:00Z","region":"eu-central-1","startUrl":"https://corp.example.com/start"}`)
	l.Fails(sshtest.StatusUnreachable, texts, l.By("unlock")...)
}
