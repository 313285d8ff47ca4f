package membership

import (
	"strings"
	"testing"

	"vigil/internal/awsfake"
	"vigil/internal/control"
)

// inConfig is the file that `… set` writes.
const inConfig = "config/vigil/vaults.d/default.toml"

// TestMasterSet goes from the local master key to one in KMS, on to another one
// inside KMS, and back.
func TestMasterSet(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	h := newHome(t, ownerPassphrase, c.env...)
	h.start()
	h.found("", "")
	h.addKey("work")
	h.fails(statusWrong, "wrong passphrase", "master", "set", c.master(c.first), "--passphrase-file", h.write("wrong", "wrong"))
	h.fails(statusFailed, "", h.by("master", "set", c.master(strings.Replace(c.first, "key/", "key/0", 1)))...)

	var r control.MasterSetReply
	h.json(&r, h.by("master", "set", c.master(c.first))...)
	if !r.NewShare || r.Master != c.master(c.first) {
		t.Errorf("from local to KMS: %+v", r)
	}
	h.signs("work")
	h.restart()
	h.unlock()

	before := len(c.Exchanges())
	h.ok("lock") // unlocked or not
	r = control.MasterSetReply{}
	h.json(&r, h.by("master", "set", c.master(c.second))...)
	if r.NewShare {
		t.Error("from KMS to KMS the share is a new one")
	}
	moved := false
	for _, e := range c.Exchanges()[before:] {
		moved = moved || e.Action == "kms:ReEncryptFrom" || e.Action == "kms:ReEncrypt"
	}
	var status control.StatusReply
	h.json(&status, "status")
	if got := status.KMSCalls; got.ReEncrypt != 1 || got.Decrypt < 3 || got.Failed != 0 {
		t.Errorf("status counts %+v", got)
	}
	if !moved {
		t.Errorf("KMS wasn't asked to move the share: %s", actions(c.Exchanges()[before:]))
	}
	c.kms.Delete(c.first)
	h.restart()
	h.unlock()
	h.signs("work")

	h.ok(h.by("master", "set", "local")...)
	c.kms.Delete(c.second)
	h.restart()
	h.unlock()
	h.signs("work")
	if text := string(h.read(h.path(inConfig))); !strings.Contains(text, `master = "local"`) {
		t.Errorf("the configuration is\n%s", text)
	}
}

func actions(exchanges []awsfake.Exchange) (out []string) {
	for _, e := range exchanges {
		out = append(out, e.Action)
	}
	return out
}

// TestMasterSetIsInterrupted: after every cut the vault opens with one of the two
// keys, and the same command gets through.
func TestMasterSetIsInterrupted(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	h := newHome(t, ownerPassphrase, c.env...)
	h.start()
	h.found(c.bucket, c.master(c.first))
	h.addKey("work")
	to := []string{c.master(c.second), c.master(c.first)}
	everyCut(t, func(t *testing.T, n int, after bool) bool {
		mend := c.cut(n, after, "kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:ReEncrypt", "s3:PutObject")
		h.ctl(h.by("master", "set", to[0])...)
		cut := mend()
		h.signs("work")
		if strings.Contains(string(h.read(h.path(inConfig))), to[1]) {
			if r := h.ctl(h.by("master", "set", to[0])...); r.status != 0 {
				t.Fatalf("again: %s", r)
			}
		}
		h.ok("lock")
		h.unlock()
		h.signs("work")
		to[0], to[1] = to[1], to[0]
		return cut
	})
}

// TestMovedMasterIsExplained: the daemon died between keyring and configuration.
func TestMovedMasterIsExplained(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	h := newHome(t, ownerPassphrase, c.env...)
	h.start()
	h.found("", c.master(c.first))
	h.addKey("work")
	config, state := h.read(h.path(inConfig)), h.path("state/vigil/vaults/"+h.vaultID().String()+"/blob-moving-to")
	mend := c.cut(1, false, "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:ReEncrypt")
	h.ctl(h.by("master", "set", c.master(c.second))...)
	mend()
	blob := h.read(state)
	h.ok(h.by("master", "set", c.master(c.second))...)
	h.write(inConfig, string(config))
	h.write(strings.TrimPrefix(state, h.dir+"/"), string(blob))
	h.restart()
	h.fails(statusFailed, "vigilctl master set", h.by("unlock")...)
	h.ok(h.by("master", "set", c.master(c.second))...)
	h.unlock()
	h.signs("work")
}

// TestBackendSet moves a vault with two homes from a folder to S3.
func TestBackendSet(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	uri, dir := shared(t)
	owner := newHome(t, ownerPassphrase, c.env...)
	owner.start()
	owner.found(uri, "")
	owner.addKey("work")
	other := newHome(t, memberPassphrase, c.env...)
	other.takeFile(owner)
	other.start()
	owner.admit(other.request("--backend", uri), "member")
	other.unlock()

	owner.fails(statusWrong, "wrong passphrase", "backend", "set", c.bucket, "--passphrase-file", other.pass)
	var r control.BackendSetReply
	owner.json(&r, owner.by("backend", "set", c.bucket)...)
	if !r.Copied || len(r.Notices) == 0 || !strings.Contains(strings.Join(r.Notices, " "), dir) {
		t.Errorf("%+v", r)
	}
	if string(c.s3.Object("team/members")) != string(owner.read(dir+"/members")) || string(c.s3.Object("team/deks")) != string(owner.read(dir+"/deks")) {
		t.Error("the copy differs from the old place, which stays as it is")
	}
	owner.addKey("later")
	other.takeFile(owner)
	r = control.BackendSetReply{}
	other.json(&r, other.by("backend", "set", c.bucket)...)
	if r.Copied {
		t.Error("the second home copied what was there already")
	}
	other.signs("work", "later")
	for _, h := range []*home{owner, other} {
		h.restart()
		h.unlock()
		h.signs("work", "later")
	}

	// A place with another vault's keyring is refused.
	third := newHome(t, nextPassphrase, c.env...)
	third.start()
	third.found("", "")
	third.fails(statusFailed, "another keyring", third.by("backend", "set", c.bucket)...)
	// So is one that went on by itself.
	owner.ok(owner.by("backend", "set", "file://"+dir)...)
	owner.addKey("here")
	other.addKey("there")
	other.fails(statusFailed, "went on by itself", other.by("backend", "set", "file://"+dir)...)
	other.signs("work", "later", "there")
}

// TestBackendSetIsInterrupted: the old place serves until the new one is whole.
func TestBackendSetIsInterrupted(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	h := newHome(t, ownerPassphrase, c.env...)
	h.start()
	h.found("", "")
	everyCut(t, func(t *testing.T, n int, after bool) bool {
		c.s3.SetObject("team/members", nil)
		c.s3.SetObject("team/deks", nil)
		name := "key-" + strings.ReplaceAll(strings.ReplaceAll(t.Name(), "/", "-"), ",", "")
		mend := c.cut(n, after, "s3:PutObject")
		moved := h.ctl(h.by("backend", "set", c.bucket)...)
		cut := mend()
		h.addKey(name[len(name)-20:])
		if moved.status != 0 {
			if r := h.ctl(h.by("backend", "set", c.bucket)...); r.status != 0 {
				t.Fatalf("again: %s", r)
			}
		}
		h.ok("refresh")
		h.signs(name[len(name)-20:])
		h.ok("lock")
		h.unlock()
		h.ok(h.by("backend", "set", "file")...)
		return cut
	})
}
