package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/control"
	"vigil/internal/passphrase"
	"vigil/internal/testing/sshtest"
)

// row is what was measured with one number of keys.
type row struct {
	keys                                       int
	unlock, argon, lock, list, agentList, sign time.Duration
	add, reload                                time.Duration
	front, keeper                              int64 // resident bytes, unlocked and idle
}

// settle is how long after its last request a daemon counts as idle: it has given memory
// back by then.
const settle = 4 * time.Second

// measure makes a vault of n keys and measures it, over the sockets.
func measure(ctx context.Context, n, runs int) (r row, err error) {
	h, err := newHome(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.fill(ctx, n); err != nil {
		return r, err
	}
	r.keys = n
	var locks, argons []time.Duration
	if r.unlock, err = median(runs, func() (time.Duration, error) {
		argon, err := h.argon2id()
		if err != nil {
			return 0, err
		}
		took, err := h.unlock()
		if err != nil {
			return 0, err
		}
		locked, err := h.lock(ctx)
		locks, argons = append(locks, locked), append(argons, argon)
		return took, err
	}); err != nil {
		return r, err
	}
	slices.Sort(locks)
	slices.Sort(argons)
	r.lock, r.argon = locks[len(locks)/2], argons[len(argons)/2]
	if _, err := h.unlock(); err != nil {
		return r, err
	}
	<-time.After(settle)
	if err := h.resident(ctx, &r); err != nil {
		return r, err
	}
	if r.list, err = median(runs, func() (time.Duration, error) { return h.timed("list") }); err != nil {
		return r, err
	}
	if err := h.useAgent(runs, &r); err != nil {
		return r, err
	}
	at := 0
	r.add, err = median(runs, func() (time.Duration, error) {
		at++
		return h.timed("generate", "one-more-"+string(rune('a'+at)))
	})
	if err != nil {
		return r, err
	}
	r.reload, err = h.reload(ctx, runs)
	return r, err
}

// reload measures how long after a change of the vault file by somebody else it
// counts: a line goes away, and comes back.
func (h *home) reload(ctx context.Context, runs int) (time.Duration, error) {
	whole, err := os.ReadFile(h.vaultFile)
	if err != nil {
		return 0, err
	}
	less := whole[:bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1]
	all, err := h.keys(ctx)
	if err != nil {
		return 0, err
	}
	gone := false
	return median(2*runs, func() (time.Duration, error) {
		gone = !gone
		text, want := whole, all
		if gone {
			text, want = less, all-1
		}
		if err := os.WriteFile(h.vaultFile+".new", text, 0o600); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := os.Rename(h.vaultFile+".new", h.vaultFile); err != nil {
			return 0, err
		}
		for {
			if now, err := h.keys(ctx); err != nil || now == want {
				return time.Since(began), err
			}
		}
	})
}

// keys asks how many keys the vault lists; vigilctl takes 5 ms for that.
func (h *home) keys(ctx context.Context) (int, error) {
	s, err := h.status(ctx)
	if err == nil && len(s.Vaults) != 1 {
		err = errors.New("status doesn't tell of one vault")
	}
	if err != nil {
		return 0, err
	}
	return s.Vaults[0].Keys, nil
}

func (h *home) status(ctx context.Context) (s control.StatusReply, err error) {
	out, err := h.ctl(ctx, "status", "--json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

func (h *home) unlock() (time.Duration, error) { return h.timed("unlock", "--passphrase-file", h.pass) }

// lock locks by the control socket, as vigilctl does: starting that is not part
// of what is measured.
func (h *home) lock(ctx context.Context) (time.Duration, error) {
	c, err := control.Dial(ctx, h.controlSocket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	began := time.Now()
	_, err = control.Do(ctx, c, &control.LockRequest{})
	return time.Since(began), err
}

// argon2id hashes the passphrase at the vault's cost, and nothing else.
func (h *home) argon2id() (time.Duration, error) {
	var d passphrase.Deriver
	began := time.Now()
	err := d.Derive(make([]byte, passphrase.KeySize), []byte(secretPassphrase), h.kdf)
	return time.Since(began), err
}

// resident asks the daemon what its processes have in memory.
func (h *home) resident(ctx context.Context, r *row) error {
	status, err := h.status(ctx)
	if err != nil {
		return err
	}
	for _, p := range status.Processes {
		if p.Role == "front" {
			r.front = p.ResidentBytes
		} else {
			r.keeper += p.ResidentBytes
		}
	}
	return nil
}

// useAgent measures a listing, and first signatures: each opens the key.
func (h *home) useAgent(runs int, r *row) error {
	conn, err := net.Dial("unix", h.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	a := agent.NewClient(conn)
	keys, err := a.List()
	if err != nil {
		return err
	}
	if len(keys) == 0 {
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
	r.sign, err = median(runs, func() (time.Duration, error) {
		began := time.Now()
		_, err := a.Sign(keys[at%len(keys)], sshtest.FileSig("file"))
		at++
		return time.Since(began), err
	})
	return err
}

func (h *home) timed(args ...string) (time.Duration, error) {
	began := time.Now()
	_, err := h.ctl(context.Background(), args...)
	return time.Since(began), err
}

func median(runs int, f func() (time.Duration, error)) (time.Duration, error) {
	times := make([]time.Duration, 0, runs)
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
