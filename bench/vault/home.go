package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"vigil/bench/fill"
	"vigil/internal/backend/file"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/master/local"
	"vigil/internal/testing/sshtest"
)

const secretPassphrase = "correct horse battery staple"

// home is a user's home with a vigild that has a vault.
type home struct {
	dir, bin, socket, controlSocket, pass, vaultFile string

	env    []string
	kdf    keyring.KDF
	daemon *sshtest.Agent
}

// newHome starts a vigild, and makes a vault at the least cost of Argon2id.
func newHome(ctx context.Context) (h *home, err error) {
	root, err := sshtest.ModuleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "vv") // short: sockets lie in it
	if err != nil {
		return nil, err
	}
	run := filepath.Join(dir, "run", "vigil")
	h = &home{
		dir: dir, bin: filepath.Join(root, "bin"), pass: filepath.Join(dir, "pass"),
		socket: filepath.Join(run, "agent.sock"), controlSocket: filepath.Join(run, "control.sock"),
		vaultFile: filepath.Join(dir, "data", "vigil", "vaults", "default", "vault.jsonl"),
		env:       append(sshtest.VigilEnvironment(dir), "PATH="+os.Getenv("PATH")),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if err := os.WriteFile(h.pass, []byte(secretPassphrase+"\n"), 0o600); err != nil {
		return nil, err
	}
	if h.daemon, err = sshtest.StartVigild(dir, filepath.Join(h.bin, "vigild"), h.env...); err != nil {
		return nil, fmt.Errorf("start vigild (make build first): %w", err)
	}
	_, err = h.ctl(ctx, "init", "--passphrase-file", h.pass, "--kdf-memory", "64", "--kdf-time", "3", "--kdf-parallelism", "1")
	return h, err
}

func (h *home) close() (err error) {
	if h.daemon != nil {
		err = h.daemon.Close()
	}
	return errors.Join(err, os.RemoveAll(h.dir))
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
func (h *home) fill(ctx context.Context, n int) (err error) {
	store := file.New(filepath.Join(h.dir, "data", "vigil", "keyrings", "default"))
	v := fill.Vault{Passphrase: secretPassphrase, Share: func(dst []byte, vault id.Vault, me id.Identity, wrapped []byte) error {
		slab, err := guard.NewSlab(4 << 10)
		if err != nil {
			return err
		}
		defer slab.Close()
		key := local.New(filepath.Join(h.dir, "data", "vigil", "device"), slab)
		return key.Decrypt(ctx, dst, wrapped, master.Context{Vault: vault, Identity: me, Purpose: master.PurposeUnlock})
	}}
	if v.File, err = os.ReadFile(h.vaultFile); err != nil {
		return err
	}
	if v.Members, _, err = store.Get(ctx, keyring.ObjectMembers, ""); err != nil {
		return err
	}
	deks, version, err := store.Get(ctx, keyring.ObjectDeks, "")
	if err != nil {
		return err
	}
	v.Deks = deks
	if h.kdf, err = v.KDF(); err != nil {
		return err
	}
	if v, err = v.Keys(n); err != nil {
		return err
	}
	if _, err := store.Put(ctx, keyring.ObjectDeks, v.Deks, version); err != nil {
		return err
	}
	return os.WriteFile(h.vaultFile, v.File, 0o600)
}
