//go:build linux && amd64

package crash

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
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/testing/sshtest"
)

// patience bounds every wait: what takes longer hangs.
const patience = 60 * time.Second

// passphrases are those that a vault has in turn.
var passphrases = []string{"correct horse battery staple", "another one altogether"}

// home is a home directory with Vigil in it, and what it was told.
type home struct {
	t      *testing.T
	dir    string
	env    []string
	daemon *daemon
	ledger *ledger
	event  string // what was done to it last, for messages
	// backend is the keyring's place, "" for the default one; door leads there
	// when it is behind a network.
	backend string
	door    *door
	// The passphrase is that of number pass, or while unsure maybe the other one.
	pass   int
	unsure bool
}

// newHome makes a home below base, without a daemon.
func newHome(t *testing.T, base string) *home {
	t.Helper()
	dir, err := os.MkdirTemp(base, "h")
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, dir: dir, env: append(os.Environ(), sshtest.VigilEnvironment(dir)...), ledger: newLedger()}
	t.Cleanup(func() {
		if h.daemon != nil {
			h.daemon.kill()
		}
		if t.Failed() {
			log, _ := os.ReadFile(h.path("vigild.log"))
			t.Logf("end of vigild's log:\n%s", log[max(0, len(log)-4000):])
		}
		_ = os.RemoveAll(dir)
	})
	for n, p := range passphrases {
		h.write(fmt.Sprint("pass", n), p+"\n")
	}
	return h
}

func worlds() string { return filepath.Join(sshtest.World(), "w") }

func (h *home) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

func (h *home) write(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// daemon is a running vigild, traced or not.
type daemon struct {
	pid    int
	done   <-chan struct{}
	tracer *tracer
}

// kill kills the daemon and waits until nothing that it started is left: an
// opener may end what it is doing.
func (d *daemon) kill() {
	_ = syscall.Kill(d.pid, syscall.SIGSTOP) // so that it starts nothing more
	left := sshtest.Children(d.pid)
	_ = syscall.Kill(d.pid, syscall.SIGKILL) // it may have ended by itself
	d.wait()
	deadline := time.Now().Add(patience)
	for _, pid := range left {
		for sshtest.Alive(pid) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
}

// wait waits for the daemon's end, and for its children's if they are traced.
func (d *daemon) wait() {
	done := d.done
	if d.tracer != nil {
		done = d.tracer.allDone
	}
	select {
	case <-done:
	case <-time.After(patience):
		var left []string
		if d.tracer != nil {
			left = d.tracer.left()
		}
		panic(fmt.Sprintf("vigild %d, or what it started, outlives SIGKILL: %s", d.pid, left))
	}
}

func (d *daemon) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (h *home) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(sshtest.Binary(h.t, name), args...)
	cmd.Env, cmd.Dir = h.env, h.dir
	return cmd
}

// start starts vigild and waits until it serves.
func (h *home) start(traced bool) {
	h.t.Helper()
	log, err := os.OpenFile(h.path("vigild.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	cmd := h.command("vigild")
	cmd.Stdout, cmd.Stderr = log, log
	if traced {
		tr, err := trace(cmd)
		if err != nil {
			h.t.Fatal(err)
		}
		h.daemon = &daemon{pid: tr.root, done: tr.rootDone, tracer: tr}
	} else {
		done := make(chan struct{})
		if err := cmd.Start(); err != nil {
			h.t.Fatal(err)
		}
		go func() {
			_ = cmd.Wait() // how it ended is the tests' doing
			close(done)
		}()
		h.daemon = &daemon{pid: cmd.Process.Pid, done: done}
	}
	h.waitServing()
}

func (h *home) waitServing() {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if conn, err := net.Dial("unix", h.path("run", "vigil", "control.sock")); err == nil {
			conn.Close()
			return
		}
		if h.daemon.ended() || time.Now().After(deadline) {
			log, _ := os.ReadFile(h.path("vigild.log"))
			h.t.Fatalf("vigild doesn't serve\n%s", log[max(0, len(log)-2000):])
		}
		time.Sleep(time.Millisecond)
	}
}

// result is how a command ended.
type result struct {
	args   []string
	out    []byte
	errors string
	code   int // -1 when it was killed
}

func (r result) String() string {
	return fmt.Sprintf("vigilctl %s: status %d: %s", strings.Join(r.args, " "), r.code, strings.TrimSpace(r.errors))
}

// run runs vigilctl.
func (h *home) run(args ...string) result { return h.watched(nil, args...) }

// watched runs vigilctl, which watchers are told of.
func (h *home) watched(watchers []watcher, args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := result{args: args}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, sshtest.Binary(h.t, "vigilctl"), args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = h.env, h.dir, &out, &errs
	err := cmd.Start()
	if err == nil {
		for _, w := range watchers {
			defer w(cmd.Process)()
		}
		err = cmd.Wait()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Errorf("vigilctl %q: %v", args, err)
	}
	if ctx.Err() != nil {
		h.t.Errorf("vigilctl %q hangs", args)
	}
	r.out, r.errors, r.code = out.Bytes(), errs.String(), cmd.ProcessState.ExitCode()
	return r
}

// must runs vigilctl and fails the test unless it exits with 0.
func (h *home) must(args ...string) result {
	h.t.Helper()
	r := h.run(args...)
	if r.code != 0 {
		h.t.Fatal(r)
	}
	return r
}

func (h *home) init() {
	h.t.Helper()
	h.must(h.initArguments()...)
}

func (h *home) initArguments() []string {
	args := append([]string{"init", "--unlock", "--passphrase-file", h.passFile(0)}, sshtest.CheapKDF...)
	if h.backend != "" {
		args = append(args, "--backend", h.backend)
	}
	return args
}

func (h *home) passFile(n int) string { return h.path(fmt.Sprint("pass", n)) }

// unlock unlocks with the passphrase that was reported last, or with the other
// one when a change of it ended without a report.
func (h *home) unlock() {
	h.t.Helper()
	r := h.run("unlock", "--passphrase-file", h.passFile(h.pass))
	if r.code == wrongPassphrase && h.unsure {
		h.pass = 1 - h.pass
		r = h.run("unlock", "--passphrase-file", h.passFile(h.pass))
	}
	if r.code != 0 {
		h.t.Fatalf("after %s: %v", h.event, r)
	}
	h.unsure = false
}

// wrongPassphrase is vigilctl's exit status.
const wrongPassphrase = 4

// reopen unlocks if a change has left the vault locked, as some that fail may.
func (h *home) reopen() {
	h.t.Helper()
	if h.status().Vaults[0].State != "unlocked" {
		h.unlock()
	}
}

func (h *home) changePassphrase() result {
	h.unsure = true
	r := h.run("passphrase", "--passphrase-file", h.passFile(h.pass), "--new-passphrase-file", h.passFile(1-h.pass))
	if r.code == 0 {
		h.pass, h.unsure = 1-h.pass, false
	}
	return r
}

// restart kills the daemon, starts another one, unlocks, and looks at everything.
func (h *home) restart(traced bool) {
	h.t.Helper()
	h.daemon.kill()
	h.start(traced)
	h.unlock()
	h.verify(true)
}

// status is what the tests read of vigilctl status.
type status struct {
	Vaults []struct {
		State  string `json:"state"`
		Keeper int    `json:"keeper"`
	} `json:"vaults"`
}

func (h *home) status() (s status) {
	h.t.Helper()
	if h.json(&s, "status"); len(s.Vaults) != 1 {
		h.t.Fatalf("status shows %d vaults", len(s.Vaults))
	}
	return s
}

// verify compares what is there with what was reported.
func (h *home) verify(settled bool) {
	h.t.Helper()
	keys := h.keys()
	for _, fault := range h.ledger.check(keys, settled) {
		h.t.Error(fault)
	}
	h.sign(keys)
	h.files()
	if h.t.Failed() {
		h.t.Fatalf("after %s", h.event)
	}
}

// keys are those that vigilctl lists.
func (h *home) keys() []key {
	h.t.Helper()
	var list struct {
		Keys []key `json:"keys"`
	}
	h.json(&list, "list")
	return list.Keys
}

// json runs vigilctl and reads what it prints.
func (h *home) json(into any, args ...string) {
	h.t.Helper()
	r := h.must(append(args, "--json")...)
	if err := json.Unmarshal(r.out, into); err != nil {
		h.t.Fatalf("%v: %s: %v", r, r.out, err)
	}
}

// sign has every listed key sign: its private half opens.
func (h *home) sign(keys []key) {
	h.t.Helper()
	conn, err := net.Dial("unix", h.path("run", "vigil", "agent.sock"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	c := agent.NewClient(conn)
	served, err := c.List()
	if err != nil || len(served) != len(keys) {
		h.t.Errorf("the agent serves %d keys, vigilctl lists %d (%v)", len(served), len(keys), err)
	}
	for _, k := range keys {
		pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
		if err != nil {
			h.t.Errorf("%s has no public key: %v", k.Name, err)
			continue
		}
		data := sshtest.FileSig("file")
		sig, err := c.Sign(pub, data)
		if err == nil {
			err = pub.Verify(data, sig)
		}
		if err != nil {
			h.t.Errorf("%s doesn't sign: %v", k.Name, err)
		}
	}
}
