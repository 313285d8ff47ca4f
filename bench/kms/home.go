package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vigil/internal/awsfake"
	"vigil/internal/backend/s3/s3fake"
	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/kmsfake"
	"vigil/internal/passphrase"
	"vigil/internal/ring"
	"vigil/internal/sshtest"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
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
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		return err
	}
	defer slab.Close()
	r, err := h.openRing(slab, share)
	if err != nil {
		return err
	}
	defer r.Close()
	update, lines, err := keys(r, n)
	if err != nil {
		return err
	}
	deks, _, err := r.Apply(update, uint64(time.Now().Unix()))
	if err != nil {
		return err
	}
	h.s3.SetObject(prefix+"/"+keyring.ObjectDeks, deks)
	file, err := vaultfile.New(r.Vault()).Add(lines...).Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.dir, "data", "vigil", "vaults", "default", "vault.jsonl"), file, 0o600)
}

// openRing goes down the hierarchy with both factors.
func (h *home) openRing(slab *guard.Slab, share []byte) (*ring.Ring, error) {
	text, err := os.ReadFile(filepath.Join(h.dir, "data", "vigil", "vaults", "default", "vault.jsonl"))
	if err != nil {
		return nil, err
	}
	file, err := vaultfile.Parse(text, id.Vault{})
	if err != nil {
		return nil, err
	}
	members, err := keyring.ParseMembers(h.s3.Object(prefix+"/"+keyring.ObjectMembers), file.Vault())
	if err != nil {
		return nil, err
	}
	me := members.Identities()[0]
	block, ok := members.Unlock(me.ID)
	if !ok {
		return nil, errors.New("no unlock block")
	}
	stretched, unlockKey := make([]byte, envelope.KeySize), make([]byte, envelope.KeySize)
	var d passphrase.Deriver
	if err := d.Derive(stretched, []byte(secretPassphrase), block.KDF); err != nil {
		return nil, err
	}
	if err := envelope.UnlockKey(unlockKey, share, stretched, file.Vault(), me.ID, block.KDF); err != nil {
		return nil, err
	}
	seeds, err := slab.Alloc(envelope.HalvesSize)
	if err != nil {
		return nil, err
	}
	if _, err := envelope.OpenHalves(seeds.Bytes(), unlockKey, &block.Halves, file.Vault(), me.ID, me.Public); err != nil {
		return nil, err
	}
	r, err := ring.New(file.Vault(), me.ID, seeds, slab.Alloc)
	if err != nil {
		return nil, err
	}
	return r, r.Load(h.s3.Object(prefix+"/"+keyring.ObjectMembers), h.s3.Object(prefix+"/"+keyring.ObjectDeks), ring.Pins{}, ring.Waiting{})
}

// keys seals n new Ed25519 keys.
func keys(r *ring.Ring, n int) (u keyring.Update, lines []vaultfile.Revision, err error) {
	for i := range n {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return u, nil, err
		}
		secret := wire.AppendString(nil, []byte("ssh-ed25519"))
		blob := wire.AppendString(secret, public)
		secret = wire.AppendString(wire.AppendString(secret[:len(secret):len(secret)], public), private)
		meta, err := (&vaultfile.Meta{
			Name: fmt.Sprintf("key-%05d", i), Comment: fmt.Sprintf("alice@host-%05d", i), Created: uint64(time.Now().Unix()), Public: blob,
		}).Encode()
		if err != nil {
			return u, nil, err
		}
		line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision()}
		dek, err := r.Seal(&line, meta, secret)
		if err != nil {
			return u, nil, err
		}
		u.Add, lines = append(u.Add, dek), append(lines, line)
	}
	return u, lines, nil
}
