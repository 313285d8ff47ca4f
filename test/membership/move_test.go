package membership

import (
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// inConfig is the file that `… set` writes.
const inConfig = "config/vigil/vaults.d/default.toml"

// TestMasterSet goes from the local master key to one in KMS, on to another one
// inside KMS, and back.
func TestMasterSet(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	h := newHome(t, ownerPassphrase, c.env...)
	h.Start()
	h.Found("", "")
	h.AddKey("work")
	h.Fails(sshtest.StatusWrong, []string{"wrong passphrase"}, "master", "set", c.master(c.first), "--passphrase-file", h.Write("wrong", "wrong"))
	h.Fails(sshtest.StatusFailed, nil, h.By("master", "set", c.master(strings.Replace(c.first, "key/", "key/0", 1)))...)

	var r control.MasterSetReply
	h.JSON(&r, h.By("master", "set", c.master(c.first))...)
	if !r.NewShare || r.Master != c.master(c.first) {
		t.Errorf("from local to KMS: %+v", r)
	}
	h.Signs("work")
	h.Restart()
	h.Unlock()

	before := len(c.Exchanges())
	h.OK("lock") // unlocked or not
	r = control.MasterSetReply{}
	h.JSON(&r, h.By("master", "set", c.master(c.second))...)
	if r.NewShare {
		t.Error("from KMS to KMS the share is a new one")
	}
	moved := false
	for _, e := range c.Exchanges()[before:] {
		moved = moved || e.Action == "kms:ReEncryptFrom" || e.Action == "kms:ReEncrypt"
	}
	var status control.StatusReply
	h.JSON(&status, "status")
	if got := status.KMSCalls; got.ReEncrypt != 1 || got.Decrypt < 3 || got.Failed != 0 {
		t.Errorf("status counts %+v", got)
	}
	if !moved {
		t.Errorf("KMS wasn't asked to move the share: %s", actions(c.Exchanges()[before:]))
	}
	c.kms.Delete(c.first)
	h.Restart()
	h.Unlock()
	h.Signs("work")

	h.OK(h.By("master", "set", "local")...)
	c.kms.Delete(c.second)
	h.Restart()
	h.Unlock()
	h.Signs("work")
	if text := string(h.Read(h.Path(inConfig))); !strings.Contains(text, `master = "local"`) {
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
	h.Start()
	h.Found(c.bucket, c.master(c.first))
	h.AddKey("work")
	to := []string{c.master(c.second), c.master(c.first)}
	everyCut(t, func(t *testing.T, n int, after bool) bool {
		mend := c.cut(n, after, "kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:ReEncrypt", "s3:PutObject")
		h.Vigilctl(h.By("master", "set", to[0])...)
		cut := mend()
		h.Signs("work")
		if strings.Contains(string(h.Read(h.Path(inConfig))), to[1]) {
			if r := h.Vigilctl(h.By("master", "set", to[0])...); r.Status != 0 {
				t.Fatalf("again: %s", r)
			}
		}
		h.OK("lock")
		h.Unlock()
		h.Signs("work")
		to[0], to[1] = to[1], to[0]
		return cut
	})
}

// TestMovedMasterIsExplained: the daemon died between keyring and configuration.
func TestMovedMasterIsExplained(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	h := newHome(t, ownerPassphrase, c.env...)
	h.Start()
	h.Found("", c.master(c.first))
	h.AddKey("work")
	config, state := h.Read(h.Path(inConfig)), h.Path("state/vigil/vaults/"+h.VaultID().String()+"/blob-moving-to")
	mend := c.cut(1, false, "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:ReEncrypt")
	h.Vigilctl(h.By("master", "set", c.master(c.second))...)
	mend()
	blob := h.Read(state)
	h.OK(h.By("master", "set", c.master(c.second))...)
	h.Write(inConfig, string(config))
	h.Write(strings.TrimPrefix(state, h.Dir+"/"), string(blob))
	h.Restart()
	h.Fails(sshtest.StatusFailed, []string{"vigilctl master set"}, h.By("unlock")...)
	h.OK(h.By("master", "set", c.master(c.second))...)
	h.Unlock()
	h.Signs("work")
}

// TestBackendSet moves a vault with two homes from a folder to S3.
func TestBackendSet(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	uri, dir := sshtest.NewShared(t)
	owner := newHome(t, ownerPassphrase, c.env...)
	owner.Start()
	owner.Found(uri, "")
	owner.AddKey("work")
	other := newHome(t, memberPassphrase, c.env...)
	other.TakeVaultFile(owner.Home)
	other.Start()
	owner.Admit(other.Request("--backend", uri), "member")
	other.Unlock()

	owner.Fails(sshtest.StatusWrong, []string{"wrong passphrase"}, "backend", "set", c.bucket, "--passphrase-file", other.Pass)
	var r control.BackendSetReply
	owner.JSON(&r, owner.By("backend", "set", c.bucket)...)
	if !r.Copied || len(r.Notices) == 0 || !strings.Contains(strings.Join(r.Notices, " "), dir) {
		t.Errorf("%+v", r)
	}
	if string(c.s3.Object("team/members")) != string(owner.Read(dir+"/members")) || string(c.s3.Object("team/deks")) != string(owner.Read(dir+"/deks")) {
		t.Error("the copy differs from the old place, which stays as it is")
	}
	owner.AddKey("later")
	other.TakeVaultFile(owner.Home)
	r = control.BackendSetReply{}
	other.JSON(&r, other.By("backend", "set", c.bucket)...)
	if r.Copied {
		t.Error("the second home copied what was there already")
	}
	other.Signs("work", "later")
	for _, h := range []*home{owner, other} {
		h.Restart()
		h.Unlock()
		h.Signs("work", "later")
	}

	// A place with another vault's keyring is refused.
	third := newHome(t, nextPassphrase, c.env...)
	third.Start()
	third.Found("", "")
	third.Fails(sshtest.StatusFailed, []string{"another keyring"}, third.By("backend", "set", c.bucket)...)
	// So is one that changed on its own.
	owner.OK(owner.By("backend", "set", "file://"+dir)...)
	owner.AddKey("here")
	other.AddKey("there")
	other.Fails(sshtest.StatusFailed, []string{"changed on its own"}, other.By("backend", "set", "file://"+dir)...)
	other.Signs("work", "later", "there")
}

// TestBackendSetIsInterrupted: the old place serves until the new one is whole.
func TestBackendSetIsInterrupted(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	h := newHome(t, ownerPassphrase, c.env...)
	h.Start()
	h.Found("", "")
	everyCut(t, func(t *testing.T, n int, after bool) bool {
		c.s3.SetObject("team/members", nil)
		c.s3.SetObject("team/deks", nil)
		name := "key-" + strings.ReplaceAll(strings.ReplaceAll(t.Name(), "/", "-"), ",", "")
		mend := c.cut(n, after, "s3:PutObject")
		moved := h.Vigilctl(h.By("backend", "set", c.bucket)...)
		cut := mend()
		h.AddKey(name[len(name)-20:])
		if moved.Status != 0 {
			if r := h.Vigilctl(h.By("backend", "set", c.bucket)...); r.Status != 0 {
				t.Fatalf("again: %s", r)
			}
		}
		h.OK("refresh")
		h.Signs(name[len(name)-20:])
		h.OK("lock")
		h.Unlock()
		h.OK(h.By("backend", "set", "file")...)
		return cut
	})
}
