package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vigil/internal/backend"
	"vigil/internal/backend/file"
	"vigil/internal/envelope"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/master/local"
	"vigil/internal/passphrase"
	"vigil/internal/ring"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

const (
	secretPassphrase = "correct horse battery staple"
	startLimit       = 20 * time.Second
)

// home is a user's home with a vigild that has a vault.
type home struct {
	dir, bin, socket, controlSocket, pass string

	env    []string
	kdf    keyring.KDF
	daemon *exec.Cmd
}

// newHome starts a vigild, and makes a vault at the least cost of Argon2id.
func newHome(ctx context.Context) (h *home, err error) {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "vv") // short: sockets lie in it
	if err != nil {
		return nil, err
	}
	run := filepath.Join(dir, "run", "vigil")
	h = &home{
		dir: dir, bin: bin, pass: filepath.Join(dir, "pass"),
		socket: filepath.Join(run, "agent.sock"), controlSocket: filepath.Join(run, "control.sock"),
		env: []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	for name, sub := range map[string]string{"CONFIG_HOME": "config", "DATA_HOME": "data", "STATE_HOME": "state", "RUNTIME_DIR": "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
		h.env = append(h.env, "XDG_"+name+"="+filepath.Join(dir, sub))
	}
	if err := os.WriteFile(h.pass, []byte(secretPassphrase+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := h.start(ctx); err != nil {
		return nil, err
	}
	_, err = h.ctl(ctx, "init", "--passphrase-file", h.pass, "--kdf-memory", "64", "--kdf-time", "3", "--kdf-parallelism", "1")
	return h, err
}

// start starts vigild and returns when it serves.
func (h *home) start(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	h.daemon = exec.CommandContext(ctx, filepath.Join(h.bin, "vigild"), "--ready-fd", "3")
	h.daemon.Env, h.daemon.ExtraFiles = h.env, []*os.File{w}
	err = h.daemon.Start()
	w.Close()
	if err != nil {
		h.daemon = nil
		return fmt.Errorf("start vigild (make build first): %w", err)
	}
	if err := r.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("vigild doesn't serve: %w", err)
	}
	return nil
}

func (h *home) close() error {
	if h.daemon != nil {
		_ = h.daemon.Process.Signal(syscall.SIGTERM)
		_ = h.daemon.Wait() // however it ended
	}
	return os.RemoveAll(h.dir)
}

// ctl runs vigilctl and returns what it printed.
func (h *home) ctl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(h.bin, "vigilctl"), args...)
	cmd.Env = h.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("vigilctl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// fill puts n Ed25519 keys into the vault file and the keyring.
func (h *home) fill(ctx context.Context, n int) error {
	path := filepath.Join(h.dir, "data", "vigil", "vaults", "default", "vault.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	vault, err := vaultfile.Parse(text, id.Vault{})
	if err != nil {
		return err
	}
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		return err
	}
	defer slab.Close()
	store := file.New(filepath.Join(h.dir, "data", "vigil", "keyrings", "default"))
	r, version, err := h.openRing(ctx, slab, store, vault.Vault())
	if err != nil {
		return err
	}
	defer r.Close()
	update, lines, err := sealKeys(r, n)
	if err != nil {
		return err
	}
	deks, _, err := r.Apply(update, uint64(time.Now().Unix()))
	if err != nil {
		return err
	}
	if _, err := store.Put(ctx, keyring.ObjectDeks, deks, version); err != nil {
		return err
	}
	out, err := vaultfile.New(r.Vault()).Add(lines...).Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, out, 0o600)
}

// openRing goes down the hierarchy with both factors. The version is that of deks.
func (h *home) openRing(ctx context.Context, slab *guard.Slab, store *file.Store, vault id.Vault) (*ring.Ring, backend.Version, error) {
	fail := func(err error) (*ring.Ring, backend.Version, error) { return nil, "", err }
	members, _, err := store.Get(ctx, keyring.ObjectMembers, "")
	if err != nil {
		return fail(err)
	}
	deks, version, err := store.Get(ctx, keyring.ObjectDeks, "")
	if err != nil {
		return fail(err)
	}
	m, err := keyring.ParseMembers(members, vault)
	if err != nil {
		return fail(err)
	}
	me := m.Identities()[0]
	block, ok := m.Unlock(me.ID)
	if !ok {
		return fail(errors.New("no unlock block"))
	}
	h.kdf = block.KDF
	share := make([]byte, master.ShareSize)
	key := local.New(filepath.Join(h.dir, "data", "vigil", "device"), slab)
	if err := key.Decrypt(ctx, share, block.Share, master.Context{Vault: vault, Identity: me.ID, Purpose: master.PurposeUnlock}); err != nil {
		return fail(err)
	}
	stretched, unlockKey := make([]byte, envelope.KeySize), make([]byte, envelope.KeySize)
	var d passphrase.Deriver
	if err := d.Derive(stretched, []byte(secretPassphrase), block.KDF); err != nil {
		return fail(err)
	}
	if err := envelope.UnlockKey(unlockKey, share, stretched, vault, me.ID, block.KDF); err != nil {
		return fail(err)
	}
	seeds, err := slab.Alloc(envelope.HalvesSize)
	if err != nil {
		return fail(err)
	}
	if _, err := envelope.OpenHalves(seeds.Bytes(), unlockKey, &block.Halves, vault, me.ID, me.Public); err != nil {
		return fail(err)
	}
	r, err := ring.New(vault, me.ID, seeds, slab.Alloc)
	if err != nil {
		return fail(err)
	}
	return r, version, r.Load(members, deks, ring.Pins{}, ring.Waiting{})
}

// sealKeys seals n new Ed25519 keys.
func sealKeys(r *ring.Ring, n int) (u keyring.Update, lines []vaultfile.Revision, err error) {
	for i := range n {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return u, nil, err
		}
		name := wire.AppendString(nil, "ssh-ed25519")
		blob := wire.AppendString(bytes.Clone(name), public)
		secret := wire.AppendString(wire.AppendString(name, public), private)
		meta, err := (&vaultfile.Meta{
			Name: fmt.Sprintf("key-%05d", i), Comment: fmt.Sprintf("someone@host-%05d", i), Created: uint64(time.Now().Unix()), Public: blob,
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
