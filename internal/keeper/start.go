package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/unixsock"
)

const (
	// startTimeout bounds the time until a new keeper reports that it is sandboxed,
	// which takes about 5 ms.
	startTimeout = 10 * time.Second
	// endTimeout is how long a keeper may take to wipe and exit after its connections
	// are closed, before it is killed.
	endTimeout = time.Second
	// minWorkers keeps signing possible while one worker loads a vault.
	minWorkers = 2
	// mostWorkers keeps descriptors free for the keeper's other needs: its sandbox
	// allows 64.
	mostWorkers = 32
)

// Options say how to start a keeper.
type Options struct {
	// Exe is the vigild to start: /proc/self/exe on Linux, so that an upgrade can't
	// mix builds.
	Exe string
	// Vault is the vault's id; zero for the keeper of added keys.
	Vault id.Vault
	// Memory is the best kind of guarded memory that it may use; "": the best there is.
	Memory guard.Kind
}

// Start starts a keeper and returns once it has reported that it is sandboxed. The
// process lives until Close; ctx only bounds the start.
func Start(ctx context.Context, o Options) (*Client, error) {
	c, err := launch(o)
	if err != nil {
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, c.child.Kill)
	defer stop()
	err = c.greet(o.Vault)
	if traced := c.untraced(); traced != nil {
		err = traced
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	c.watching.Go(c.watchTracers)
	return c, nil
}

// launch starts the process, with a connection for each worker. Its environment has
// only what Go's runtime reads: no stack traces, no time zone file, no named mappings.
func launch(o Options) (*Client, error) {
	workers := min(max(minWorkers, runtime.NumCPU()), mostWorkers)
	c := &Client{free: make(chan struct{}, workers)}
	var theirs []*os.File
	defer func() { // while they are open here, the front can't notice that a keeper died before its hello
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	for range workers {
		ours, other, err := ipc.Pair()
		if err != nil {
			c.closeConns()
			return nil, err
		}
		theirs = append(theirs, other)
		stream, err := unixsock.NewStream(ours)
		if err != nil {
			_ = ours.Close()
			c.closeConns()
			return nil, err
		}
		c.conns = append(c.conns, &conn{c: stream})
		c.free <- struct{}{}
	}
	n := strconv.Itoa(workers)
	var err error
	c.child, err = ipc.Start(o.Exe, []string{"vigild", Role, n, string(cmp.Or(o.Memory, guard.SecretMemory))},
		[]string{"GOTRACEBACK=none", "TZ=UTC", "GODEBUG=decoratemappings=0", "GORACE=atexit_sleep_ms=0", "GOMAXPROCS=" + n}, theirs...)
	if err != nil {
		c.closeConns()
		return nil, err
	}
	c.idle = append(c.idle, c.conns...)
	return c, nil
}

// greet exchanges hellos, and reads the keeper's report or why it can't serve.
func (c *Client) greet(vault id.Vault) error {
	k := c.conns[0]
	if err := ipc.Greet(k.c, ipc.Front, ipc.Keeper, vault); err != nil {
		return k.fail("greet keeper", err)
	}
	body, err := k.receive(nil)
	if err != nil {
		return err
	}
	c.report, err = readReport(body)
	return err
}

// Close ends the keeper: it wipes and exits when its connections are closed, and is killed
// if it hasn't after a second. Close returns when the process and its watchers have ended.
func (c *Client) Close() {
	c.end()
	c.watching.Wait()
}

// end is the part of Close that watchTracers may call.
func (c *Client) end() {
	c.closeConns()
	c.child.End(endTimeout)
}

func (c *Client) closeConns() {
	for _, k := range c.conns {
		_ = k.c.Close()
	}
}

// Done is closed when the process has ended for any reason.
func (c *Client) Done() <-chan struct{} { return c.child.Done() }

// Exit says how the process ended, after Done; nil: as requested.
func (c *Client) Exit() error { return c.child.Exit() }

// PID returns the keeper's process id.
func (c *Client) PID() int { return c.child.PID() }

// Report returns the keeper's report of its sandbox and memory.
func (c *Client) Report() Report { return c.report }

// gone reports whether err means that the other end is closed.
func gone(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
