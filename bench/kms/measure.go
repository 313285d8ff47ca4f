package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/awsauth"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/master/awskms"
	"vigil/internal/passphrase"
	"vigil/internal/testing/sshtest"
)

// row is what was measured with one number of keys.
type row struct {
	keys int

	unlockCalls, unlockGets, listCalls int
	unlock, list, sign                 time.Duration // list: `vigilctl list`, all keys
	argon                              time.Duration // Argon2id alone, which an unlock can't do without
	listed                             int           // by the agent
	agentList                          time.Duration // by the agent

	singleCalls int // made
	single      time.Duration
}

// measure makes a vault of n keys and measures it.
func measure(ctx context.Context, n int, latency time.Duration, runs, calls int) (r row, err error) {
	h, err := newHome()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.start(); err != nil {
		return r, err
	}
	if err := h.makeVault(n); err != nil {
		return r, err
	}
	r.keys = n
	h.slow(latency)
	if err := h.ctl("unlock", "--passphrase-file", h.pass); err != nil { // the first one fills the device's caches
		return r, err
	}
	h.cloud.Forget()
	if r.unlock, err = median(runs, func() (time.Duration, error) {
		if err := h.ctl("lock"); err != nil {
			return 0, err
		}
		return h.timed("unlock", "--passphrase-file", h.pass)
	}); err != nil {
		return r, err
	}
	if r.argon, err = median(runs, argon2id); err != nil {
		return r, err
	}
	r.unlockCalls, r.unlockGets = h.kmsCalls()/runs, h.cloud.Count("s3:GetObject")/runs
	h.cloud.Forget()
	if r.list, err = median(runs, func() (time.Duration, error) { return h.timed("list", "--json") }); err != nil {
		return r, err
	}
	if err := h.useAgent(runs, &r); err != nil {
		return r, err
	}
	r.listCalls = h.kmsCalls()
	r.singleCalls = min(n, calls)
	r.single, err = h.oneCallEach(ctx, r.singleCalls)
	return r, err
}

// argon2id derives a key at the cost that a vault has where nothing is set.
func argon2id() (time.Duration, error) {
	var d passphrase.Deriver
	began := time.Now()
	err := d.Derive(make([]byte, passphrase.KeySize), []byte(secretPassphrase), keyring.DefaultKDF([keyring.KDFSaltSize]byte{}))
	return time.Since(began), err
}

// useAgent measures a listing and a signature over the agent's socket.
func (h *home) useAgent(runs int, r *row) error {
	conn, err := net.Dial("unix", h.daemon.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	a := agent.NewClient(conn)
	keys, err := a.List()
	if err != nil {
		return err
	}
	if r.listed = len(keys); r.listed == 0 {
		return errors.New("the agent lists no key")
	}
	if r.agentList, err = median(runs, func() (time.Duration, error) {
		began := time.Now()
		_, err := a.List()
		return time.Since(began), err
	}); err != nil {
		return err
	}
	at := 0
	r.sign, err = median(runs, func() (time.Duration, error) { // each with another key, for the first time
		began := time.Now()
		_, err := a.Sign(keys[at%len(keys)], sshtest.FileSig("file"))
		at++
		return time.Since(began), err
	})
	return err
}

// oneCallEach has the KMS decrypt n secrets, one after another, on one
// connection, and returns how long that took.
func (h *home) oneCallEach(ctx context.Context, n int) (time.Duration, error) {
	uri, err := master.ParseURI(h.master())
	if err != nil {
		return 0, err
	}
	key, err := awskms.Open(ctx, uri, awsauth.Options{})
	if err != nil {
		return 0, err
	}
	slab, err := guard.NewSlab(4096)
	if err != nil {
		return 0, err
	}
	defer slab.Close()
	share, err := slab.Alloc(master.ShareSize)
	if err != nil {
		return 0, err
	}
	defer share.Free()
	context := master.Context{Vault: id.Vault{1}, Identity: id.NewIdentity(), Purpose: master.PurposeUnlock}
	wrapped, err := key.Generate(ctx, share.Bytes(), context)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for range n {
		if err := key.Decrypt(ctx, share.Bytes(), wrapped, context); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

func median(runs int, f func() (time.Duration, error)) (time.Duration, error) {
	var times []time.Duration
	for range runs {
		d, err := f()
		if err != nil {
			return 0, err
		}
		times = append(times, d)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// ctl runs vigilctl.
func (h *home) ctl(args ...string) error {
	cmd := exec.Command(filepath.Join(h.bin, "vigilctl"), args...)
	cmd.Env = append(os.Environ(), h.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("vigilctl %s: %w: %s", args[0], err, strings.TrimSpace(out.String()))
	}
	return nil
}

func (h *home) timed(args ...string) (time.Duration, error) {
	began := time.Now()
	err := h.ctl(args...)
	return time.Since(began), err
}

func (h *home) kmsCalls() (n int) {
	for _, e := range h.cloud.Exchanges() {
		if strings.HasPrefix(e.Action, "kms:") {
			n++
		}
	}
	return n
}

// plaintext is the share that KMS answered an init with.
func (h *home) plaintext() ([]byte, error) {
	for _, e := range h.cloud.Exchanges() {
		if e.Action == "kms:GenerateDataKey" {
			var answer struct{ Plaintext []byte }
			err := json.Unmarshal(e.Answer, &answer)
			return answer.Plaintext, err
		}
	}
	return nil, errors.New("KMS made no share")
}

// programs finds bin/ at the module's root.
func programs() (string, error) {
	root, err := sshtest.ModuleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	if _, err := os.Stat(filepath.Join(bin, "vigild")); err != nil {
		return "", fmt.Errorf("make build first: %w", err)
	}
	return bin, nil
}
