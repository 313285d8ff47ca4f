package aws

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// TestS3FaultsAtUnlock: what a user who unlocks sees of each fault of the
// backend, where nothing is kept for the time without network.
func TestS3FaultsAtUnlock(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice, `offline = "0"`)
	l.init()
	api := func(status int, code, message string) func() func() {
		return func() func() {
			return w.faults("s3:", awsfake.Fault{Status: status, Code: code, Message: message})
		}
	}
	stored := func(object string, change func([]byte) []byte) func() func() {
		return func() func() {
			good := w.s3.Object(prefix + "/" + object)
			w.s3.SetObject(prefix+"/"+object, change(bytes.Clone(good)))
			return func() { w.s3.SetObject(prefix+"/"+object, good) }
		}
	}
	gone := func([]byte) []byte { return nil }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	lines := func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	junk := func([]byte) []byte { return []byte("<html>Log in to the hotel's network</html>") }
	for _, tc := range []struct {
		name   string
		do     func() (undo func())
		status int
		texts  []string
	}{
		{"down", func() func() { return w.faults("s3:", awsfake.Fault{Drop: true}) }, sshtest.StatusUnreachable, []string{"keyring store unreachable", "Check the network"}},
		{"internal error", api(500, "InternalError", "We encountered an internal error"), sshtest.StatusUnreachable, []string{"InternalError", "request id"}},
		{"slow down", api(503, "SlowDown", "Please reduce your request rate."), sshtest.StatusUnreachable, []string{"SlowDown", "request id"}},
		{"denied", api(403, "AccessDenied", "Access Denied"), sshtest.StatusRefused, []string{"AccessDenied", "request id", "s3:GetObject"}},
		{"no bucket", api(404, "NoSuchBucket", "The specified bucket does not exist"), sshtest.StatusFailed, []string{"NoSuchBucket", "Check the bucket's name"}},
		{"another region", api(301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint."), sshtest.StatusFailed, []string{"PermanentRedirect", "region"}},
		{"clock far off", api(403, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large."), sshtest.StatusFailed, []string{"RequestTimeTooSkewed", "clock"}},
		{"no members", stored("members", gone), sshtest.StatusFailed, []string{"has no members", "backup"}},
		{"no deks", stored("deks", gone), sshtest.StatusFailed, []string{"has no deks", "backup"}},
		{"half of members", stored("members", half), sshtest.StatusFailed, []string{"Nothing was changed"}},
		{"half of deks", stored("deks", half), sshtest.StatusFailed, []string{"Nothing was changed"}},
		{"members without its last line", stored("members", lines), sshtest.StatusFailed, []string{"Nothing was changed"}},
		{"deks without its last line", stored("deks", lines), sshtest.StatusFailed, []string{"Nothing was changed"}},
		{"a bit of members", stored("members", flip), sshtest.StatusFailed, []string{"Nothing was changed"}},
		{"a bit of deks", stored("deks", flip), sshtest.StatusFailed, []string{"Nothing was changed"}},
		{"a login page for members", stored("members", junk), sshtest.StatusFailed, []string{"Nothing was changed"}},
		{"a login page for deks", stored("deks", junk), sshtest.StatusFailed, []string{"Nothing was changed"}},
	} {
		undo := tc.do()
		l.Fails(tc.status, tc.texts, l.By("unlock")...)
		undo()
		if v := l.Vault(); v.State == control.VaultUnlocked {
			t.Errorf("%s: the vault is unlocked", tc.name)
		}
		if t.Failed() {
			t.Fatalf("at %s", tc.name)
		}
	}
	l.Unlock()
}

// TestBadKeyringIsRefused: what is put into the backend's place while a vault is
// open, or locked, is refused, and the last good keyring stays in use.
func TestBadKeyringIsRefused(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	l.AddKey("first")
	oldMembers, oldDeks := w.s3.Object(prefix+"/members"), w.s3.Object(prefix+"/deks")
	l.AddKey("second")
	members, deks := w.s3.Object(prefix+"/members"), w.s3.Object(prefix+"/deks")

	// Another vault's keyring, of the same owner's.
	other := w.laptop(w.alice)
	other.OK(append([]string{"init", "--unlock", "--master", w.master(w.arn), "--backend", strings.Replace(w.backend(), prefix, "other", 1), "--passphrase-file", other.Pass}, sshtest.CheapKDF...)...)
	other.AddKey("third")
	othersMembers, othersDeks := w.s3.Object("other/members"), w.s3.Object("other/deks")

	for _, tc := range []struct {
		name          string
		members, deks []byte
	}{
		{"an older keyring", oldMembers, oldDeks},
		{"older deks", members, oldDeks},
		{"another vault's keyring", othersMembers, othersDeks},
		{"another vault's members", othersMembers, deks},
		{"another vault's deks", members, othersDeks},
		{"truncated deks", members, deks[:len(deks)-10]},
		{"truncated members", members[:len(members)-10], deks},
		{"swapped objects", deks, members},
		{"empty objects", []byte{}, []byte{}},
		{"deleted objects", nil, nil},
	} {
		w.s3.SetObject(prefix+"/members", tc.members)
		w.s3.SetObject(prefix+"/deks", tc.deks)
		if r := l.Vigilctl("refresh"); r.Status == sshtest.StatusDone || len(r.Err) > 2000 {
			t.Errorf("%s: refresh: %s", tc.name, r)
		}
		v := l.Vault()
		if v.State != control.VaultUnlocked || v.Problem == "" || v.Next == "" {
			t.Errorf("%s: vault is %s, problem %q, next %q", tc.name, v.State, v.Problem, v.Next)
		}
		if got := l.Listed(); !slices.Equal(got, []string{"first", "second"}) {
			t.Errorf("%s: listed %q", tc.name, got)
		}
		l.Signs("first")
		l.Signs("second")
		// Nothing can be written on top of it, and nothing of it is overwritten.
		if r := l.Vigilctl("generate", "new"); r.Status == sshtest.StatusDone {
			t.Errorf("%s: a key was saved on top of it: %s", tc.name, r)
		}
		if !bytes.Equal(w.s3.Object(prefix+"/members"), tc.members) || !bytes.Equal(w.s3.Object(prefix+"/deks"), tc.deks) {
			t.Errorf("%s: it was overwritten", tc.name)
		}
		if t.Failed() {
			t.Fatalf("at %s", tc.name)
		}
	}
	// Locked, the same: an unlock takes the last good one, and says so.
	w.s3.SetObject(prefix+"/members", oldMembers)
	w.s3.SetObject(prefix+"/deks", oldDeks)
	l.OK("lock")
	l.Unlock()
	l.Signs("first", "second")
	if v := l.Vault(); !strings.Contains(v.Problem, "rollback") {
		t.Errorf("unlocked with an older keyring in place: problem %q", v.Problem)
	}
	l.OK("lock")
	w.s3.SetObject(prefix+"/members", members)
	w.s3.SetObject(prefix+"/deks", deks)
	l.Unlock()
	l.OK("refresh")
	if v := l.Vault(); v.Problem != "" {
		t.Errorf("problem %q is left", v.Problem)
	}
}

// TestWriters: sixteen devices write at once, each through its own daemon, and
// every item survives.
func TestWriters(t *testing.T) {
	w := newWorld(t)
	const writers = 16
	first := w.laptop(w.alice)
	first.OK(first.initArgs("--unlock")...)
	all := []*laptop{first}
	for range writers - 1 {
		l := w.newHome(w.alice)
		l.copyVault(first)
		l.Start()
		l.Unlock()
		all = append(all, l)
	}
	var wg sync.WaitGroup
	results := make([]sshtest.Result, writers)
	for i, l := range all {
		wg.Go(func() {
			results[i] = l.Vigilctl("generate", fmt.Sprintf("key-%02d", i), "--comment", fmt.Sprintf("key-%02d", i))
		})
	}
	wg.Wait()
	var want []string
	for i, r := range results {
		if r.Status != sshtest.StatusDone {
			t.Errorf("writer %d: %s", i, r)
		}
		want = append(want, fmt.Sprintf("key-%02d", i))
	}
	lost := 0
	for _, e := range w.cloud.Exchanges() {
		if e.Status == 412 {
			lost++
		}
	}
	if lost == 0 {
		t.Error("nobody lost a race: this test shows nothing")
	}
	t.Logf("%d writes lost a race", lost)
	// The union of all files, as git makes it, with the one keyring.
	var union []byte
	for i, l := range all {
		text, err := os.ReadFile(l.VaultFile())
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			text = text[bytes.IndexByte(text, '\n')+1:]
		}
		union = append(union, text...)
	}
	if err := os.WriteFile(first.VaultFile(), union, 0o600); err != nil {
		t.Fatal(err)
	}
	first.OK("refresh")
	if got := first.Listed(); !slices.Equal(got, want) {
		t.Errorf("listed %q", got)
	}
	for _, name := range want {
		first.Signs(name)
	}
}

// TestStorm: every write is refused by somebody who was first, for a while.
func TestStorm(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	races := 5
	var mu sync.Mutex
	w.cloud.SetFault(func(c awsfake.Call) awsfake.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Action != "s3:PutObject" || races == 0 {
			return awsfake.Fault{}
		}
		races--
		return awsfake.Fault{Status: 412, Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold"}
	})
	l.OK("generate", "survivor", "--comment", "survivor")
	l.Signs("survivor")
	if races != 0 {
		t.Errorf("%d races are left", races)
	}
	// For ever: it gives up, says so, and what it says was not saved isn't.
	defer w.faults("s3:PutObject", awsfake.Fault{Status: 412, Code: "PreconditionFailed", Message: "…"})()
	l.Fails(sshtest.StatusUnreachable, []string{"other writers were first"}, "generate", "never")
	if got := l.Listed(); !slices.Equal(got, []string{"survivor"}) {
		t.Errorf("listed %q", got)
	}
}

// TestAnswerLost: a write whose answer is lost was carried out, and isn't
// carried out twice.
func TestAnswerLost(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	var mu sync.Mutex
	n := 0
	w.cloud.SetFault(func(c awsfake.Call) awsfake.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Action == "s3:PutObject" {
			n++
			return awsfake.Fault{Drop: n == 1, After: true}
		}
		return awsfake.Fault{}
	})
	l.OK("generate", "once", "--comment", "once")
	w.cloud.SetFault(nil)
	l.OK("refresh")
	if got := l.Listed(); !slices.Equal(got, []string{"once"}) {
		t.Errorf("listed %q", got)
	}
}

// TestStoreWithoutConditions: init refuses a store that would lose the changes
// of other devices.
func TestStoreWithoutConditions(t *testing.T) {
	w := newWorld(t)
	w.s3.IgnoreConditions = true
	l := w.laptop(w.alice)
	l.Fails(sshtest.StatusFailed, []string{"ignores If-None-Match", "conditional writes"}, l.initArgs()...)
	if w.s3.Object(prefix+"/members") != nil || w.s3.Object(prefix+"/deks") != nil || w.cloud.Count("kms:GenerateDataKey") > 0 {
		t.Error("a keyring was made there")
	}
	if v := l.Vault(); v.State != control.VaultMissing {
		t.Errorf("vault is %s", v.State)
	}
}
