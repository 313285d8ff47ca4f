package main

import (
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
	"sync/atomic"
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
	paths   paths.Paths
	stopped context.CancelFunc

	several atomic.Bool // there are other vaults beside its own

	mu         sync.Mutex
	state      control.VaultState
	passphrase string
	keys       []control.Key
	requests   []any
	files      map[string]string // what the last request's files held
	// staysLocked is a daemon that doesn't unlock what it makes.
	staysLocked bool
	// verify runs during a check.
	verify func(*control.VerifyRequest)
	// guess is what a guess at a passphrase costs.
	guess control.KDF
	// fail answers instead of the operation it is for.
	fail map[string]error // by the type of the request
}

func newFakeDaemon(p paths.Paths) *fakeDaemon {
	return &fakeDaemon{
		paths: p, state: control.VaultMissing, stopped: func() {},
		files: map[string]string{}, fail: map[string]error{},
	}
}

// serve records a request and answers it: with the failure that is set for its
// operation, or by do, which runs under the daemon's lock.
func serve[R any](d *fakeDaemon, req any, do func() (*R, error)) (*R, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, req)
	if err := d.fail[fmt.Sprintf("%T", req)]; err != nil {
		return nil, err
	}
	return do()
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

// failWith makes requests of a type fail with err, or succeed if it is nil.
func (d *fakeDaemon) failWith(request any, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail[fmt.Sprintf("%T", request)] = err
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
	return serve(d, r, func() (*control.StopReply, error) {
		d.stopped()
		return &control.StopReply{PID: os.Getpid(), Locked: []string{"default"}}, nil
	})
}

func (d *fakeDaemon) Lock(_ context.Context, _ *control.Call, r *control.LockRequest) (*control.LockReply, error) {
	return serve(d, r, func() (*control.LockReply, error) {
		if d.state != control.VaultUnlocked {
			return &control.LockReply{}, nil
		}
		d.state = control.VaultLocked
		return &control.LockReply{Locked: []string{"default"}}, nil
	})
}

// Ready isn't recorded: it changes nothing.
func (d *fakeDaemon) Ready(_ context.Context, _ *control.Call, r *control.ReadyRequest) (*control.ReadyReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &control.ReadyReply{Guess: d.guess}, d.fail[fmt.Sprintf("%T", r)]
}

func (d *fakeDaemon) Status(_ context.Context, _ *control.Call, r *control.StatusRequest) (*control.StatusReply, error) {
	return serve(d, r, func() (*control.StatusReply, error) {
		return &control.StatusReply{
			PID: os.Getpid(), Build: buildid.ID(), Version: "1", Vaults: []control.VaultStatus{d.vault()},
			AgentSocket: d.paths.AgentSocket(), ControlSocket: d.paths.ControlSocket(),
			Processes: []control.ProcessStatus{{Role: "front", PID: os.Getpid(), Dumpable: true}},
		}, nil
	})
}

func (d *fakeDaemon) List(_ context.Context, _ *control.Call, r *control.ListRequest) (*control.ListReply, error) {
	return serve(d, r, func() (*control.ListReply, error) {
		return &control.ListReply{Keys: slices.Clone(d.keys)}, nil
	})
}

func (d *fakeDaemon) find(key string) (*control.Key, error) {
	i := slices.IndexFunc(d.keys, func(k control.Key) bool { return k.Name == key || k.ID == key })
	if i < 0 {
		return nil, control.NoSuchKey(key, "")
	}
	return &d.keys[i], nil
}

func (d *fakeDaemon) Show(_ context.Context, _ *control.Call, r *control.ShowRequest) (*control.ShowReply, error) {
	return serve(d, r, func() (*control.ShowReply, error) {
		k, err := d.find(r.Key)
		if err != nil {
			return nil, err
		}
		return &control.ShowReply{Key: *k}, nil
	})
}

func (d *fakeDaemon) Init(_ context.Context, _ *control.Call, r *control.InitRequest) (*control.InitReply, error) {
	return serve(d, r, func() (*control.InitReply, error) {
		d.passphrase = d.read("passphrase", r.Passphrase)
		d.state = control.VaultLocked
		if r.Unlock && !d.staysLocked {
			d.state = control.VaultUnlocked
		}
		d.save()
		return &control.InitReply{Vault: d.vault(), Saved: control.Saved{Notices: []string{"Back up the device key."}}}, nil
	})
}

func (d *fakeDaemon) Unlock(_ context.Context, _ *control.Call, r *control.UnlockRequest) (*control.UnlockReply, error) {
	return serve(d, r, func() (*control.UnlockReply, error) {
		if d.read("passphrase", r.Passphrase) != d.passphrase {
			return nil, control.Errorf(control.CodeWrongPassphrase, "Try again.", "wrong passphrase for vault default")
		}
		d.state = control.VaultUnlocked
		return &control.UnlockReply{Vault: d.vault()}, nil
	})
}

// Add accepts files of the form "fake key NAME" or "fake key NAME PASSPHRASE".
func (d *fakeDaemon) Add(_ context.Context, _ *control.Call, r *control.AddRequest) (*control.AddReply, error) {
	return serve(d, r, func() (*control.AddReply, error) {
		words := strings.Fields(d.read("key_file", r.KeyFile))
		d.read("certificate", r.Certificate)
		given := d.read("key_passphrase", r.KeyPassphrase)
		if len(words) < 2 || words[1] == "DSA" {
			return nil, control.Errorf(control.CodeBadKeyFile, "It must be a private key.", "not a private key file")
		}
		if words[len(words)-1] == "protected" && given != "let me in" {
			return nil, control.Errorf(control.CodeKeyPassphrase, "", "the key file's passphrase is wrong or missing")
		}
		return &control.AddReply{Key: d.keep(r.Name, r.Comment)}, nil
	})
}

func (d *fakeDaemon) Generate(_ context.Context, _ *control.Call, r *control.GenerateRequest) (*control.GenerateReply, error) {
	return serve(d, r, func() (*control.GenerateReply, error) {
		return &control.GenerateReply{Key: d.keep(r.Name, r.Comment)}, nil
	})
}

// keep makes a key that depends on its name alone. The caller holds mu.
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
	return serve(d, r, func() (*control.RemoveReply, error) {
		if d.read("passphrase", r.Passphrase) != d.passphrase {
			return nil, control.Errorf(control.CodeWrongPassphrase, "", "wrong passphrase")
		}
		k, err := d.find(r.Key)
		if err != nil {
			return nil, err
		}
		gone := *k
		d.keys = slices.DeleteFunc(d.keys, func(k control.Key) bool { return k.ID == gone.ID })
		return &control.RemoveReply{Key: gone, Saved: control.Saved{Pending: true}}, nil
	})
}

func (d *fakeDaemon) Edit(_ context.Context, _ *control.Call, r *control.EditRequest) (*control.EditReply, error) {
	return serve(d, r, func() (*control.EditReply, error) {
		k, err := d.find(r.Key)
		if err != nil {
			return nil, err
		}
		switch loosens := r.Confirm != nil && !*r.Confirm; {
		case loosens && r.Passphrase == nil:
			return nil, &control.Error{Code: control.CodePassphrase, Message: "this change of key \"laptop\" lets it do more: confirm is lifted", Change: "c1"}
		case loosens && d.read("passphrase", r.Passphrase) != d.passphrase:
			return nil, control.Errorf(control.CodeWrongPassphrase, "", "wrong passphrase")
		}
		return &control.EditReply{Key: *k}, nil
	})
}

func (d *fakeDaemon) Export(_ context.Context, _ *control.Call, r *control.ExportRequest) (*control.ExportReply, error) {
	return serve(d, r, func() (*control.ExportReply, error) {
		if d.read("passphrase", r.Passphrase) != d.passphrase {
			return nil, control.Errorf(control.CodeWrongPassphrase, "", "wrong passphrase")
		}
		k, err := d.find(r.Key)
		if err != nil {
			return nil, err
		}
		_, err = fmt.Fprintf(r.Output, "private %s under %q\n", k.Name, d.read("new_passphrase", r.NewPassphrase))
		return &control.ExportReply{Key: *k}, err
	})
}

func (d *fakeDaemon) Why(_ context.Context, _ *control.Call, r *control.WhyRequest) (*control.WhyReply, error) {
	return serve(d, r, func() (*control.WhyReply, error) {
		return &control.WhyReply{Refusals: []control.Refusal{{
			What: "sign", Key: "laptop\x1b[31m", Vault: "default", PID: 12, Program: "/usr/bin/ssh", Purpose: "login as root", Host: "SHA256:x",
			Reason: "vault default is locked", Next: "vigilctl unlock",
		}}}, nil
	})
}

func (d *fakeDaemon) Verify(_ context.Context, _ *control.Call, r *control.VerifyRequest) (*control.VerifyReply, error) {
	d.mu.Lock()
	verify := d.verify
	d.mu.Unlock()
	verify(r)
	return &control.VerifyReply{Vault: "default"}, nil
}

func (d *fakeDaemon) Refresh(_ context.Context, _ *control.Call, r *control.RefreshRequest) (*control.RefreshReply, error) {
	return serve(d, r, func() (*control.RefreshReply, error) {
		return &control.RefreshReply{Vaults: []control.RefreshResult{
			{Vault: "default", Epoch: 4},
			{Vault: "team", Error: control.Errorf(control.CodeUnreachable, "Check the network.", "no answer from s3")},
		}}, nil
	})
}

// vaultOnDisk is the state that a fake daemon keeps in a file in place of the vault.
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
	flag.String("log-file", "", "")
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

// operations are those that a test needs.
func (d *fakeDaemon) operations() []control.Operation {
	return []control.Operation{
		control.Handle(d.Version),
		control.Handle(d.Stop),
		control.Handle(d.Lock),
		control.Handle(d.Status),
		control.Handle(d.Ready),
		control.Handle(d.List),
		control.Handle(d.Show),
		control.Handle(d.Init),
		control.Handle(d.Unlock),
		control.Handle(d.Add),
		control.Handle(d.Generate),
		control.Handle(d.Remove),
		control.Handle(d.Edit),
		control.Handle(d.Export),
		control.Handle(d.Why),
		control.Handle(d.Refresh),
		control.Handle(d.Verify),
	}
}

func newServer(d *fakeDaemon, kind string) *control.Server {
	s := control.NewServer(slog.New(slog.DiscardHandler), d.operations()...)
	s.Several = d.several.Load
	if kind == "other build" {
		s.Build = kind
	}
	return s
}
