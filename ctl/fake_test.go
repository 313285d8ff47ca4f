package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vigil/internal/buildid"
	"vigil/internal/control"
	"vigil/internal/paths"
	"vigil/internal/pubkey"
	"vigil/internal/unixsock"
	"vigil/internal/wire"
)

// fakeDaemon is a vigild without cryptography: it keeps a vault's state in
// memory and a file, and answers as the real one does.
type fakeDaemon struct {
	control.Handler // operations that no test needs
	paths           paths.Paths
	stopped         context.CancelFunc

	mu         sync.Mutex
	state      control.VaultState
	passphrase string
	keys       []control.Key
	requests   []any
	files      map[string]string // what the last request's files held
	// staysLocked is a daemon that doesn't unlock what it makes.
	staysLocked bool
	// fail answers instead of the operation it is for.
	fail map[control.Op]error
}

func newFakeDaemon(p paths.Paths) *fakeDaemon {
	return &fakeDaemon{
		paths: p, state: control.VaultMissing, stopped: func() {},
		files: map[string]string{}, fail: map[control.Op]error{},
	}
}

// enter records a request and returns the failure set for its operation.
func (d *fakeDaemon) enter(op control.Op, req any) (func(), error) {
	d.mu.Lock()
	d.requests = append(d.requests, req)
	if err := d.fail[op]; err != nil {
		d.mu.Unlock()
		return nil, err
	}
	return d.mu.Unlock, nil
}

// become sets the vault's state, and is returns it.
func (d *fakeDaemon) become(state control.VaultState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = state
}

func (d *fakeDaemon) is() control.VaultState {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// failWith makes an operation fail; nil lets it be.
func (d *fakeDaemon) failWith(op control.Op, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail[op] = err
}

func (d *fakeDaemon) vault() control.VaultStatus {
	return control.VaultStatus{Name: "default", State: d.state, Path: d.paths.Vault("default"), Keys: len(d.keys)}
}

func (d *fakeDaemon) read(name string, f *os.File) string {
	if f == nil {
		return ""
	}
	b, err := io.ReadAll(f)
	if err != nil {
		panic(err)
	}
	d.files[name] = string(b)
	return strings.TrimSuffix(string(b), "\n")
}

func (d *fakeDaemon) Version(context.Context, *control.Call, *control.VersionRequest) (*control.VersionReply, error) {
	return &control.VersionReply{Build: buildid.ID(), Version: "1", PID: os.Getpid()}, nil
}

func (d *fakeDaemon) Stop(_ context.Context, _ *control.Call, r *control.StopRequest) (*control.StopReply, error) {
	leave, err := d.enter(control.OpStop, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	d.stopped()
	return &control.StopReply{PID: os.Getpid(), Locked: []string{"default"}}, nil
}

func (d *fakeDaemon) Lock(_ context.Context, _ *control.Call, r *control.LockRequest) (*control.LockReply, error) {
	leave, err := d.enter(control.OpLock, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	if d.state != control.VaultUnlocked {
		return &control.LockReply{}, nil
	}
	d.state = control.VaultLocked
	return &control.LockReply{Locked: []string{"default"}}, nil
}

func (d *fakeDaemon) Status(_ context.Context, _ *control.Call, r *control.StatusRequest) (*control.StatusReply, error) {
	leave, err := d.enter(control.OpStatus, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	return &control.StatusReply{
		PID: os.Getpid(), Build: buildid.ID(), Version: "1", Vaults: []control.VaultStatus{d.vault()},
		AgentSocket: d.paths.AgentSocket(), ControlSocket: d.paths.ControlSocket(),
		Processes: []control.ProcessStatus{{Role: "front", PID: os.Getpid(), Dumpable: true}},
	}, nil
}

func (d *fakeDaemon) List(_ context.Context, _ *control.Call, r *control.ListRequest) (*control.ListReply, error) {
	leave, err := d.enter(control.OpList, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	return &control.ListReply{Keys: slices.Clone(d.keys)}, nil
}

func (d *fakeDaemon) find(key string) (*control.Key, error) {
	i := slices.IndexFunc(d.keys, func(k control.Key) bool { return k.Name == key || k.ID == key })
	if i < 0 {
		return nil, control.NoSuchKey(key, "")
	}
	return &d.keys[i], nil
}

func (d *fakeDaemon) Show(_ context.Context, _ *control.Call, r *control.ShowRequest) (*control.ShowReply, error) {
	leave, err := d.enter(control.OpShow, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	k, err := d.find(r.Key)
	if err != nil {
		return nil, err
	}
	return &control.ShowReply{Key: *k}, nil
}

func (d *fakeDaemon) Init(_ context.Context, _ *control.Call, r *control.InitRequest) (*control.InitReply, error) {
	leave, err := d.enter(control.OpInit, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	d.passphrase = d.read("passphrase", r.Passphrase)
	d.state = control.VaultLocked
	if r.Unlock && !d.staysLocked {
		d.state = control.VaultUnlocked
	}
	d.save()
	return &control.InitReply{Vault: d.vault(), Saved: control.Saved{Notices: []string{"Back up the device key."}}}, nil
}

func (d *fakeDaemon) Unlock(_ context.Context, _ *control.Call, r *control.UnlockRequest) (*control.UnlockReply, error) {
	leave, err := d.enter(control.OpUnlock, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	if d.read("passphrase", r.Passphrase) != d.passphrase {
		return nil, control.Errorf(control.CodeWrongPassphrase, "Try again.", "wrong passphrase for vault default")
	}
	d.state = control.VaultUnlocked
	return &control.UnlockReply{Vault: d.vault()}, nil
}

// Add takes files of the form "fake key NAME" or "fake key NAME PASSPHRASE".
func (d *fakeDaemon) Add(_ context.Context, _ *control.Call, r *control.AddRequest) (*control.AddReply, error) {
	leave, err := d.enter(control.OpAdd, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	words := strings.Fields(d.read("key_file", r.KeyFile))
	d.read("certificate", r.Certificate)
	given := d.read("key_passphrase", r.KeyPassphrase)
	if len(words) < 2 {
		return nil, control.Errorf(control.CodeFailed, "It must be a private key.", "not a private key file")
	}
	if words[len(words)-1] == "protected" && given != "let me in" {
		return nil, control.Errorf(control.CodeKeyPassphrase, "", "the key file's passphrase is wrong or missing")
	}
	return &control.AddReply{Key: d.keep(r.Name, r.Comment)}, nil
}

func (d *fakeDaemon) Generate(_ context.Context, _ *control.Call, r *control.GenerateRequest) (*control.GenerateReply, error) {
	leave, err := d.enter(control.OpGenerate, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	return &control.GenerateReply{Key: d.keep(r.Name, r.Comment)}, nil
}

// keep makes a key that depends on its name alone.
func (d *fakeDaemon) keep(name, comment string) control.Key {
	seed := sha256.Sum256([]byte(name))
	public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	blob := wire.AppendString(wire.AppendString(nil, []byte("ssh-ed25519")), public)
	k := control.Key{
		ID: base64.RawURLEncoding.EncodeToString(seed[:16]), Vault: "default", Name: name, Comment: comment,
		Type: "ssh-ed25519", Bits: 256, Fingerprint: pubkey.SHA256(blob), PublicKey: pubkey.AuthorizedKey(blob, ""),
	}
	d.keys = append(d.keys, k)
	d.save()
	return k
}

func (d *fakeDaemon) Remove(_ context.Context, _ *control.Call, r *control.RemoveRequest) (*control.RemoveReply, error) {
	leave, err := d.enter(control.OpRemove, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	k, err := d.find(r.Key)
	if err != nil {
		return nil, err
	}
	gone := *k
	d.keys = slices.DeleteFunc(d.keys, func(k control.Key) bool { return k.ID == gone.ID })
	return &control.RemoveReply{Key: gone, Saved: control.Saved{Pending: true}}, nil
}

func (d *fakeDaemon) Edit(_ context.Context, _ *control.Call, r *control.EditRequest) (*control.EditReply, error) {
	leave, err := d.enter(control.OpEdit, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	k, err := d.find(r.Key)
	if err != nil {
		return nil, err
	}
	return &control.EditReply{Key: *k}, nil
}

func (d *fakeDaemon) Export(_ context.Context, _ *control.Call, r *control.ExportRequest) (*control.ExportReply, error) {
	leave, err := d.enter(control.OpExport, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	if d.read("passphrase", r.Passphrase) != d.passphrase {
		return nil, control.Errorf(control.CodeWrongPassphrase, "", "wrong passphrase")
	}
	k, err := d.find(r.Key)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(r.Output, "private %s under %q\n", k.Name, d.read("new_passphrase", r.NewPassphrase))
	return &control.ExportReply{Key: *k}, err
}

func (d *fakeDaemon) Why(_ context.Context, _ *control.Call, r *control.WhyRequest) (*control.WhyReply, error) {
	leave, err := d.enter(control.OpWhy, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	return &control.WhyReply{Refusals: []control.Refusal{{
		What: "sign", Key: "laptop\x1b[31m", Vault: "default", PID: 12, Program: "/usr/bin/ssh (12)", Host: "example.org",
		Reason: "vault default is locked", Next: "vigilctl unlock",
	}}}, nil
}

func (d *fakeDaemon) Reload(_ context.Context, _ *control.Call, r *control.ReloadRequest) (*control.ReloadReply, error) {
	leave, err := d.enter(control.OpReload, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	return &control.ReloadReply{}, nil
}

func (d *fakeDaemon) Refresh(_ context.Context, _ *control.Call, r *control.RefreshRequest) (*control.RefreshReply, error) {
	leave, err := d.enter(control.OpRefresh, r)
	if err != nil {
		return nil, err
	}
	defer leave()
	return &control.RefreshReply{Vaults: []control.RefreshResult{
		{Vault: "default", Epoch: 4},
		{Vault: "team", Error: control.Errorf(control.CodeUnreachable, "Check the network.", "no answer from s3")},
	}}, nil
}

// vaultOnDisk is what outlives a fake daemon, where the real one keeps its vault.
type vaultOnDisk struct {
	Passphrase string
	Keys       []control.Key
}

func (d *fakeDaemon) save() {
	b, err := json.Marshal(vaultOnDisk{d.passphrase, d.keys})
	path := d.paths.Vault("default")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		panic(err)
	}
}

func (d *fakeDaemon) load() {
	b, err := os.ReadFile(d.paths.Vault("default"))
	if err != nil {
		return
	}
	var v vaultOnDisk
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	d.passphrase, d.keys, d.state = v.Passphrase, v.Keys, control.VaultLocked
}

// fakeVariable makes the test's program a vigild that does what its value says.
const fakeVariable = "VIGIL_TEST_DAEMON"

func TestMain(m *testing.M) {
	switch os.Getenv(fakeVariable) {
	case "":
		os.Exit(m.Run())
	case "fails":
		fmt.Fprintln(os.Stderr, "config.toml line 3: no such key")
		os.Exit(1)
	case "silent":
		select {}
	}
	if err := runFakeDaemon(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runFakeDaemon is the main function of the fake vigild.
func runFakeDaemon() error {
	ready := flag.Int("ready-fd", -1, "")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := paths.FromEnviron(os.Environ())
	if err != nil {
		return err
	}
	l, err := unixsock.Listen(p.ControlSocket(), unixsock.Options{})
	if err != nil {
		return err
	}
	d := newFakeDaemon(p)
	d.load()
	d.stopped = stop
	pid := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(filepath.Join(p.State, "pid"), []byte(pid), 0o600); err != nil {
		return err
	}
	if _, err := os.NewFile(uintptr(*ready), "ready").Write([]byte{0}); err != nil {
		return err
	}
	return newServer(d, os.Getenv(fakeVariable)).Serve(ctx, l)
}

func newServer(d *fakeDaemon, kind string) *control.Server {
	s := control.NewServer(d, slog.New(slog.DiscardHandler))
	if kind == "other build" {
		s.Build = kind
	}
	return s
}

// bench is a home of its own in which a test runs vigilctl.
type bench struct {
	*testing.T
	home    string
	paths   paths.Paths
	environ []string
	tty     string
	stdin   *os.File
	stdout  *os.File // when the test wants a file
	vigild  string
	daemon  *fakeDaemon // served in this process; nil when none is, or vigilctl starts one
}

func newBench(t *testing.T) *bench {
	t.Helper()
	home := t.TempDir()
	b := &bench{
		T: t, home: home, tty: "/nonexistent/tty", vigild: os.Args[0],
		environ: []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + filepath.Join(home, "run"), "SHELL=/bin/bash", fakeVariable + "=serves"},
	}
	var err error
	if b.paths, err = paths.FromEnviron(b.environ); err != nil {
		t.Fatal(err)
	}
	if b.stdin, err = os.Open(os.DevNull); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.stdin.Close()
		b.killDaemon()
	})
	return b
}

// killDaemon ends a daemon that vigilctl started.
func (b *bench) killDaemon() {
	text, err := os.ReadFile(filepath.Join(b.paths.State, "pid"))
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(string(text)); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}
}

// withDaemon serves a fake daemon with an unlocked vault in this process.
func (b *bench) withDaemon() *bench {
	b.Helper()
	l, err := unixsock.Listen(b.paths.ControlSocket(), unixsock.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.daemon = newFakeDaemon(b.paths)
	b.daemon.state, b.daemon.passphrase = control.VaultUnlocked, "correct horse"
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	s := newServer(b.daemon, "")
	go func() { ended <- s.Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return b
}

// result is how a run ended.
type result struct {
	status      int
	out, errors string
}

// run runs vigilctl in this process.
func (b *bench) run(args ...string) result { return b.runContext(b.Context(), args...) }

func (b *bench) runContext(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	a := &app{
		stdin: b.stdin, stdout: &out, stderr: &errs, environ: b.environ, tty: b.tty,
		vigild: func() (string, error) { return b.vigild, nil },
	}
	if b.stdout != nil {
		a.stdout = b.stdout
	}
	status := a.run(ctx, args)
	return result{status, out.String(), errs.String()}
}

// ok runs vigilctl and fails the test unless it exits with 0.
func (b *bench) ok(args ...string) result {
	b.Helper()
	r := b.run(args...)
	if r.status != 0 {
		b.Fatalf("vigilctl %s: exit status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.errors)
	}
	return r
}

// fails runs vigilctl and fails the test unless it exits with status and says text.
func (b *bench) fails(status int, text string, args ...string) result {
	b.Helper()
	r := b.run(args...)
	if r.status != status || !strings.Contains(r.errors, text) {
		b.Fatalf("vigilctl %s: exit status %d, want %d with %q\n%s%s", strings.Join(args, " "), r.status, status, text, r.out, r.errors)
	}
	return r
}

// file makes a file in the bench's home.
func (b *bench) file(name, content string) string {
	b.Helper()
	path := filepath.Join(b.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// last is the newest request that the in-process daemon saw.
func (b *bench) last() any {
	b.daemon.mu.Lock()
	defer b.daemon.mu.Unlock()
	return b.daemon.requests[len(b.daemon.requests)-1]
}

// seen is what the last file called name held.
func (b *bench) seen(name string) string {
	b.daemon.mu.Lock()
	defer b.daemon.mu.Unlock()
	return b.daemon.files[name]
}
