package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/control"
	"vigil/internal/passphrase"
)

// row is what was measured with one number of keys.
type row struct {
	keys                                int
	unlock, lock, list, agentList, sign time.Duration
	add                                 time.Duration
	front, keeper                       int64 // resident bytes, unlocked and idle
}

// settle is how long after its last request a daemon counts as idle.
const settle = time.Second

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
	var locks []time.Duration
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
		locks = append(locks, locked)
		return took - argon, err
	}); err != nil {
		return r, err
	}
	slices.Sort(locks)
	r.lock = locks[len(locks)/2]
	if _, err := h.unlock(); err != nil {
		return r, err
	}
	<-time.After(settle)
	if err := h.resident(ctx, &r); err != nil {
		return r, err
	}
	if r.list, err = median(runs, func() (time.Duration, error) { return h.timed("list", "--json") }); err != nil {
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
	return r, err
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
	out, err := h.ctl(ctx, "status", "--json")
	if err != nil {
		return err
	}
	var status control.StatusReply
	if err := json.Unmarshal(out, &status); err != nil {
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
		_, err := a.Sign(keys[at%len(keys)], []byte("what is signed"))
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
