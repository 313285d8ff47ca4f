package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"vigil/internal/buildid"
	"vigil/internal/unixsock"
	"vigil/internal/wire"
)

// Role is the first argument that makes vigild run as a keeper (see Main). It
// is no flag: people never type it.
const Role = "keeper-role"

const (
	// startTimeout is how long a new keeper may take until it says that it is
	// sandboxed; it takes about 5 ms.
	startTimeout = 10 * time.Second
	// endTimeout is how long a keeper may take to wipe and exit after its
	// connections close, before it is killed.
	endTimeout = time.Second
	// minWorkers keeps signing possible while one worker loads a vault.
	minWorkers = 2
	// mostWorkers leaves a keeper descriptors for what else it needs: its sandbox
	// allows 64.
	mostWorkers = 32
)

// Options say how to start a keeper.
type Options struct {
	// Exe is the vigild to start: /proc/self/exe on Linux, so that an upgrade
	// on disk can't mix builds.
	Exe string
	// Vault is the vault's id, 32 bytes, or nil for the keeper of added keys.
	Vault []byte
	// Memory is the size of its guarded memory in bytes; 0 means what the lock limit gives.
	Memory int
}

// Start starts a keeper and returns once it has said that it is sandboxed. The
// process lives until Close; ctx only bounds the start.
func Start(ctx context.Context, o Options) (*Client, error) {
	workers := min(max(minWorkers, runtime.NumCPU()), mostWorkers)
	var theirs []*os.File
	closeTheirs := func() {
		for _, f := range theirs {
			_ = f.Close()
		}
		theirs = nil
	}
	defer closeTheirs()
	c := &Client{free: make(chan struct{}, workers), done: make(chan struct{})}
	for range workers {
		ours, other, err := connPair()
		if err != nil {
			c.closeConns()
			return nil, fmt.Errorf("start keeper: %w", err)
		}
		theirs = append(theirs, other)
		c.conns = append(c.conns, &conn{c: ours})
	}
	if err := c.spawn(o, theirs); err != nil {
		c.closeConns()
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	closeTheirs() // while we hold them, a keeper that dies before its greeting is never noticed
	c.idle = append(c.idle, c.conns...)
	for range workers {
		c.free <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
	defer stop()
	err := c.greet(ctx, o.Vault)
	if traced := c.untraced(); traced != nil {
		err = traced
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	go c.watchTracers() // until the process has ended
	return c, nil
}

// spawn starts the process. Its environment holds no more than what Go's
// runtime reads: no stack traces, no time zone file, named mappings off.
func (c *Client) spawn(o Options, conns []*os.File) error {
	cmd := exec.Command(o.Exe, Role, strconv.Itoa(len(conns)), strconv.Itoa(o.Memory))
	cmd.Args[0] = "vigild"
	cmd.Env = []string{"GOTRACEBACK=none", "TZ=UTC", "GODEBUG=decoratemappings=0", "GOMAXPROCS=" + strconv.Itoa(len(conns))}
	cmd.ExtraFiles = conns
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.cmd = cmd
	go func() {
		c.exit = cmd.Wait()
		close(c.done)
	}()
	return nil
}

func (c *Client) greet(ctx context.Context, vault []byte) error {
	h := hello{build: buildid.ID(), role: roleFront, vault: vault}
	reply, err := c.call(ctx, opHello, h.append(nil))
	if err != nil {
		return err
	}
	r := wire.NewReader(reply)
	got := readHello(&r)
	report := readReport(&r)
	if err := r.End(); err != nil {
		return fmt.Errorf("read keeper's hello: %w", err)
	}
	if got.build != h.build || got.role != roleKeeper || string(got.vault) != string(vault) {
		return fmt.Errorf("keeper is of build %.40q, this is build %q: restart vigild", got.build, h.build)
	}
	c.report = report
	return nil
}

// connPair makes a stream socketpair: our end on the netpoller, the other a
// blocking file for the keeper. Both close on exec.
func connPair() (*unixsock.Stream, *os.File, error) {
	ours, theirs, err := unixsock.SocketPair()
	if err != nil {
		return nil, nil, err
	}
	other := os.NewFile(uintptr(theirs), "keeper")
	c, err := unixsock.Conn(ours)
	if err != nil {
		_ = other.Close()
		return nil, nil, err
	}
	s, err := unixsock.NewStream(c)
	if err != nil {
		_, _ = c.Close(), other.Close()
		return nil, nil, err
	}
	return s, other, nil
}

// Close ends the keeper: it wipes and exits when its connections close, and is
// killed when it doesn't within a second. It returns once the process is gone.
func (c *Client) Close() {
	c.closeConns()
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

func (c *Client) closeConns() {
	for _, k := range c.conns {
		_ = k.c.Close()
	}
}

// Done is closed when the process has ended, asked to or not.
func (c *Client) Done() <-chan struct{} { return c.done }

// Exit says how the process ended; only after Done. Nil is a keeper that was asked to.
func (c *Client) Exit() error { return c.exit }

// PID returns the keeper's process id.
func (c *Client) PID() int { return c.cmd.Process.Pid }

// Report returns what the keeper said of its sandbox and memory when it started.
func (c *Client) Report() Report { return c.report }

// gone tells whether err means that the other end is closed.
func gone(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
