package main

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vigil/bench/fill"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/s3fake"
	"vigil/internal/testing/sshtest"
)

const (
	secretPassphrase = "correct horse battery staple"
	bucket, prefix   = "keyrings", "bench"
)

// home is a user's home with a vigild, and the AWS that it uses.
type home struct {
	dir, bin, pass string

	env    []string
	cloud  *awsfake.Cloud
	s3     *s3fake.Server
	arn    string
	kms    *httptest.Server
	bucket *httptest.Server
	daemon *sshtest.Agent // nil until it is started
}

func newHome() (*home, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "vk") // short: sockets lie in it
	if err != nil {
		return nil, err
	}
	cloud := awsfake.New()
	kms, s3 := kmsfake.New(cloud), s3fake.New(cloud, bucket)
	h := &home{
		dir: dir, bin: bin, cloud: cloud, s3: s3, arn: kms.CreateKey(), kms: httptest.NewServer(kms), bucket: httptest.NewServer(s3),
		pass: filepath.Join(dir, "pass"),
	}
	alice := cloud.AddUser("alice").Env()
	h.env = append(sshtest.VigilEnvironment(dir), alice...)
	for _, setting := range alice { // for the calls that this process makes
		name, value, _ := strings.Cut(setting, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	return h, os.WriteFile(h.pass, []byte(secretPassphrase+"\n"), 0o600)
}

func (h *home) close() error {
	var err error
	if h.daemon != nil {
		err = h.daemon.Close()
	}
	h.kms.Close()
	h.bucket.Close()
	return errors.Join(err, os.RemoveAll(h.dir))
}

func (h *home) master() string {
	return "awskms:///" + h.arn + "?endpoint=" + url.QueryEscape(h.kms.URL)
}

// start starts vigild and returns when it serves.
func (h *home) start() (err error) {
	h.daemon, err = sshtest.StartVigild(h.dir, filepath.Join(h.bin, "vigild"), h.env...)
	return err
}

// slow holds every answer back.
func (h *home) slow(latency time.Duration) {
	h.cloud.SetFault(func(awsfake.Call) awsfake.Fault { return awsfake.Fault{Delay: latency} })
}

// makeVault makes a vault with vigilctl, and fills it with n Ed25519 keys behind
// its back: one by one would take longer than anything that is measured.
func (h *home) makeVault(n int) error {
	backend := "s3://" + bucket + "/" + prefix + "?endpoint=" + url.QueryEscape(h.bucket.URL)
	if err := h.ctl("init", "--master", h.master(), "--backend", backend, "--passphrase-file", h.pass); err != nil {
		return err
	}
	share, err := h.plaintext()
	if err != nil {
		return err
	}
	path := filepath.Join(h.dir, "data", "vigil", "vaults", "default", "vault.jsonl")
	v := fill.Vault{
		Members: h.s3.Object(prefix + "/" + keyring.ObjectMembers), Deks: h.s3.Object(prefix + "/" + keyring.ObjectDeks),
		Share:      func(dst []byte, _ id.Vault, _ id.Identity, _ []byte) error { copy(dst, share); return nil },
		Passphrase: secretPassphrase,
	}
	if v.File, err = os.ReadFile(path); err != nil {
		return err
	}
	if v, err = v.Keys(n); err != nil {
		return err
	}
	h.s3.SetObject(prefix+"/"+keyring.ObjectDeks, v.Deks)
	return os.WriteFile(path, v.File, 0o600)
}
