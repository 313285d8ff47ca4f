package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/id"
	"vigil/internal/keeper"
)

// front is a front's process and its keeper.
type front struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	keeper int // pidfd
	exited chan struct{}
}

func startFront(t *testing.T, idle, lease time.Duration) *front {
	t.Helper()
	f := &front{t: t, cmd: exec.Command(selfPath(t), frontRole, idle.String(), lease.String()), exited: make(chan struct{})}
	f.cmd.Stderr = os.Stderr
	var err error
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.out = bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
	})
	pid, err := strconv.Atoi(f.line())
	if err != nil {
		t.Fatal(err)
	}
	if f.keeper, err = unix.PidfdOpen(pid, 0); err != nil {
		t.Skipf("no pidfd: %v", err)
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(f.keeper, unix.SIGKILL, nil, 0)
		_ = unix.Close(f.keeper)
	})
	return f
}

func (f *front) line() string {
	f.t.Helper()
	line, err := f.out.ReadString('\n')
	if err != nil {
		f.t.Fatalf("front: %v", err)
	}
	return strings.TrimSpace(line)
}

// set makes the front set the deadlines.
func (f *front) set() {
	f.t.Helper()
	if _, err := f.in.Write([]byte{1}); err != nil {
		f.t.Fatal(err)
	}
	if got := f.line(); got != "set" {
		f.t.Fatalf("front says %q", got)
	}
}

// keeperEnds waits until the keeper's process has ended.
func (f *front) keeperEnds() {
	f.t.Helper()
	poll := []unix.PollFd{{Fd: int32(f.keeper), Events: unix.POLLIN}}
	deadline := time.Now().Add(patience)
	for {
		n, err := unix.Poll(poll, int(time.Until(deadline).Milliseconds()))
		if errors.Is(err, unix.EINTR) && time.Now().Before(deadline) {
			continue
		}
		if n != 1 || err != nil {
			f.t.Fatalf("the keeper still runs (%v)", err)
		}
		return
	}
}

func TestAKilledFrontTakesItsKeeperAlong(t *testing.T) {
	f := startFront(t, 0, 0)
	f.set()
	if err := f.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f.keeperEnds()
}

// TestDeadlinesHoldWhileTheFrontIsStopped: the keeper enforces them, not the front.
func TestDeadlinesHoldWhileTheFrontIsStopped(t *testing.T) {
	for name, d := range map[string]struct{ idle, lease time.Duration }{
		"idle":                  {idle: 300 * time.Millisecond},
		"lease":                 {lease: 300 * time.Millisecond},
		"lease before idle":     {idle: time.Hour, lease: 300 * time.Millisecond},
		"idle before the lease": {idle: 300 * time.Millisecond, lease: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFront(t, d.idle, d.lease)
			f.set()
			if err := f.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			f.keeperEnds()
		})
	}
}

func TestUseAndRenewalPutDeadlinesOff(t *testing.T) {
	// If the machine stalls for longer than the deadline, try a longer one.
	for short := time.Second; ; short *= 3 {
		c := start(t, id.Vault{})
		a := add(t, c, ed25519Key(t))
		begin := time.Now()
		last, gap := begin, time.Duration(0)
		var err error
		for err == nil && last.Sub(begin) < short+short/4 {
			if err = c.SetDeadlines(t.Context(), short, after(short)); err == nil {
				err = sign(t, c, a.Key)
			}
			now := time.Now()
			last, gap = now, max(gap, now.Sub(last))
		}
		if err != nil && gap > short/3 && short < time.Minute {
			continue
		}
		if err != nil {
			t.Fatalf("after %v, with %v between uses at most: %v", last.Sub(begin), gap, err)
		}
		if err := c.SetDeadlines(t.Context(), 0, after(0)); err != nil { // none
			t.Fatal(err)
		}
		if err := sign(t, c, a.Key); err != nil {
			t.Fatal(err)
		}
		return
	}
}

func TestAnExpiredLeaseEndsTheKeeperInUse(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, ed25519Key(t))
	if err := c.SetDeadlines(t.Context(), time.Hour, after(200*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for sign(t, c, a.Key) == nil { // use doesn't extend a lease
	}
	ended(t, c)
	wantErr(t, sign(t, c, a.Key), keeper.ErrGone)
}

// TestALeaseIsAMoment: a deadline is an absolute time, so the delay of its message counts.
func TestALeaseIsAMoment(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, ed25519Key(t))
	if err := c.SetDeadlines(t.Context(), time.Hour, after(-time.Second)); err != nil {
		wantErr(t, err, keeper.ErrGone) // the keeper may end before it replies
	}
	ended(t, c)
	wantErr(t, sign(t, c, a.Key), keeper.ErrGone)
}

func TestAKilledKeeperIsGone(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, ed25519Key(t))
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, c)
	if c.Exit() == nil {
		t.Fatal("it reports a requested end")
	}
	for range 3 {
		wantErr(t, sign(t, c, a.Key), keeper.ErrGone)
		_, err := c.Stats(t.Context())
		wantErr(t, err, keeper.ErrGone)
	}
	c.Close()
}

// TestAKeeperKilledInTheMiddle: every running call returns.
func TestAKeeperKilledInTheMiddle(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, generate(t, "rsa", 3072))
	results := make(chan error, 50)
	signed := make(chan struct{}, cap(results)*1000)
	for range cap(results) {
		go func() {
			for {
				if _, err := c.Sign(t.Context(), a.Key, []byte("x"), 2, nil); err != nil {
					results <- err
					return
				}
				select {
				case signed <- struct{}{}:
				default:
				}
			}
		}()
	}
	<-signed
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range cap(results) {
		wantErr(t, <-results, keeper.ErrGone)
	}
}

func TestCloseEndsTheKeeper(t *testing.T) {
	c := start(t, id.Vault{})
	a := add(t, c, ed25519Key(t))
	c.Close()
	ended(t, c)
	if err := c.Exit(); err != nil {
		t.Fatalf("it ended with %v", err)
	}
	wantErr(t, sign(t, c, a.Key), keeper.ErrGone)
	c.Close()
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("watchTracers")) {
		t.Fatalf("it is still watched:\n%s", stacks)
	}
}

func TestCloseKillsAKeeperThatDoesNotEnd(t *testing.T) {
	c := start(t, id.Vault{})
	if err := syscall.Kill(c.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.Close()
	ended(t, c)
}

// inheritable returns the targets of this process's descriptors that its children inherit.
func inheritable(t *testing.T) (to []string) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("descriptors can't be listed: %v", err)
	}
	for _, e := range list {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			to = append(to, link)
		}
	}
	return to
}

// TestAKeeperHasOnlyItsConnections: it inherits nothing from the front or another keeper.
func TestAKeeperHasOnlyItsConnections(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the keeper is undumpable: only root sees its descriptors")
	}
	inherited := inheritable(t)
	first, second := start(t, id.Vault{}), start(t, id.Vault{})
	for _, c := range []*keeper.Client{first, second} {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.PID()))
		if err != nil {
			t.Skipf("descriptors can't be listed: %v", err)
		}
		sockets := 0
		for _, e := range list {
			to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", c.PID(), e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case strings.HasPrefix(to, "socket:"):
				sockets++
			case slices.Contains(inherited, to): // from this test's own parent
			case to == fmt.Sprintf("/proc/%d/status", c.PID()): // where it looks for a tracer
			case to == "/dev/null", strings.HasPrefix(to, "anon_inode:"), strings.Contains(to, "memfd:"), strings.Contains(to, "secretmem"), strings.Contains(to, "cgroup"):
			default:
				t.Errorf("descriptor %s leads to %s", e.Name(), to)
			}
		}
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.PID()))
		if err != nil {
			t.Fatal(err)
		}
		if conns := strings.Split(string(args), "\x00")[2]; conns != strconv.Itoa(sockets) {
			t.Errorf("%d sockets, want its %s connections", sockets, conns)
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.PID()))
		if err != nil {
			t.Fatal(err)
		}
		for v := range strings.SplitSeq(strings.TrimRight(string(env), "\x00"), "\x00") {
			name, _, _ := strings.Cut(v, "=")
			if !slices.Contains([]string{"GOTRACEBACK", "TZ", "GODEBUG", "GORACE", "GOMAXPROCS"}, name) && !raceBuild {
				t.Errorf("environment has %s", name)
			}
		}
	}
}

// patience bounds what is immediate on an idle machine; load and the race detector
// slow it down. Passing tests never wait that long.
const patience = time.Minute

// ended waits until the keeper's process has ended.
func ended(t testing.TB, c interface{ Done() <-chan struct{} }) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatal("the keeper still runs")
	}
}
