package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// bench is what measurements work with.
type bench struct {
	dir    string
	kinds  [2]kind
	keys   map[string]key
	window time.Duration
	agents map[string]*agent // by kind and what they hold
}

// measure is one thing to measure of each agent.
type measure struct {
	name string
	unit unit
	goal string // as a ratio to ssh-agent, or a figure; docs/performance.md
	take func(b *bench, kind int) (float64, error)
}

var measures = []measure{
	{"Ed25519, one client", seconds, "≤ 1/6", latency("ed25519")},
	{"P-256, one client", seconds, "≤ 1/2", latency("p256")},
	{"RSA-3072, one client", seconds, "≤ 1", latency("rsa3072")},
	{"Ed25519, eight clients", rate, "≥ 8", throughput("ed25519", 8)},
	{"P-256, eight clients", rate, "≥ 3", throughput("p256", 8)},
	{"RSA-3072, eight clients", rate, "≥ 1.5", throughput("rsa3072", 8)},
	{"list 1,000 keys", seconds, "≤ 1/2", listing(1000)},
	{"connect, sign, close", seconds, "≤ 1/3", connectSignClose},
	{"start to first answer", seconds, "< 50 ms", startToAnswer},
	{"resident, idle with 100 keys", size, "< 24 MiB", memory(100)},
}

// with returns the agent of a kind that holds what fill puts in; it is started
// at first use and stays.
func (b *bench) with(k int, what string, fill func(a *agent) error) (*agent, error) {
	name := fmt.Sprintf("%d %s", k, what)
	if a, ok := b.agents[name]; ok {
		return a, nil
	}
	a, _, err := start(b.dir, b.kinds[k])
	if err != nil {
		return nil, err
	}
	if b.agents == nil {
		b.agents = map[string]*agent{}
	}
	b.agents[name] = a
	return a, fill(a)
}

func (b *bench) withKeys(k int) (*agent, error) {
	return b.with(k, "keys", func(a *agent) error {
		for _, name := range []string{"ed25519", "p256", "rsa3072"} {
			if err := a.add(b.keys[name].private); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bench) withMany(k, n int) (*agent, error) {
	return b.with(k, fmt.Sprint(n), func(a *agent) error {
		keys, err := ed25519Keys(n)
		if err != nil {
			return err
		}
		return a.add(keys...)
	})
}

func (b *bench) stopAll() {
	for _, a := range b.agents {
		a.stop()
	}
}

// median repeats f for the window and returns the median of its times, in seconds.
func (b *bench) median(f func() error) (float64, error) {
	var times []time.Duration
	for end := time.Now().Add(b.window); time.Now().Before(end) || len(times) < 5; {
		began := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2].Seconds(), nil
}

// latency is the time from a request to its signature, on one connection.
func latency(name string) func(b *bench, k int) (float64, error) {
	return func(b *bench, k int) (float64, error) {
		a, err := b.withKeys(k)
		if err != nil {
			return 0, err
		}
		c, err := dial(a.socket)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		return b.median(func() error { return c.sign(b.keys[name].request) })
	}
}

// throughput is how many signatures a second clients get together.
func throughput(name string, clients int) func(b *bench, k int) (float64, error) {
	return func(b *bench, k int) (float64, error) {
		a, err := b.withKeys(k)
		if err != nil {
			return 0, err
		}
		var count atomic.Int64
		errs := make([]error, clients)
		var wg sync.WaitGroup
		began := time.Now()
		end := began.Add(b.window)
		for i := range clients {
			wg.Go(func() {
				c, err := dial(a.socket)
				if err != nil {
					errs[i] = err
					return
				}
				defer c.Close()
				for time.Now().Before(end) {
					if errs[i] = c.sign(b.keys[name].request); errs[i] != nil {
						return
					}
					count.Add(1)
				}
			})
		}
		wg.Wait()
		return float64(count.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
	}
}

// listing is the time to list n keys.
func listing(n int) func(b *bench, k int) (float64, error) {
	return func(b *bench, k int) (float64, error) {
		a, err := b.withMany(k, n)
		if err != nil {
			return 0, err
		}
		c, err := dial(a.socket)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		return b.median(func() error { return c.list(n) })
	}
}

// connectSignClose is what one `ssh` costs an agent.
func connectSignClose(b *bench, k int) (float64, error) {
	a, err := b.withKeys(k)
	if err != nil {
		return 0, err
	}
	var buf []byte
	return b.median(func() error {
		c, err := dial(a.socket)
		if err != nil {
			return err
		}
		c.buf = buf
		err = c.sign(b.keys["ed25519"].request)
		buf = c.buf
		return errors.Join(err, c.Close())
	})
}

// startToAnswer is the time from starting the program to its first answer.
func startToAnswer(b *bench, k int) (float64, error) {
	a, took, err := start(b.dir, b.kinds[k])
	if err != nil {
		return 0, err
	}
	a.stop()
	return took.Seconds(), nil
}

// settle is how long after its last request an agent counts as idle: what it
// clears away, it has cleared away by then.
const settle = time.Second

// memory is what all of an agent's processes have resident together, idle, with
// n keys.
func memory(n int) func(b *bench, k int) (float64, error) {
	return func(b *bench, k int) (float64, error) {
		a, err := b.withMany(k, n)
		if err != nil {
			return 0, err
		}
		<-time.After(settle)
		return a.resident()
	}
}
