package daemon

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/keeper"
	"vigil/internal/keeper/server"
	"vigil/internal/logind"
	"vigil/internal/opener"
	openerjob "vigil/internal/opener/job"
	"vigil/internal/paths"
	"vigil/internal/testing/sshtest"
	"vigil/internal/unixsock"
)

// TestMain also runs this binary as a keeper or an opener, so that the tests' daemons
// have real ones.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == keeper.Role:
		if os.Getenv(oldKernel) != "" {
			forgetLandlock()
		}
		os.Exit(server.Main(os.Args[2:]))
	case os.Args[0] == "vigil-opener":
		os.Exit(openerjob.Run(context.Background()))
	case filepath.Base(os.Args[0]) == "ssh-sk-helper":
		os.Exit(beHelper())
	}
	// Otherwise openers built with the race detector sleep for a second at their end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const passphrase = "correct horse battery staple"

// patience bounds what is immediate on an idle machine. Passing tests never wait that long.
const patience = time.Minute

// cheap is the least cost of Argon2id that is allowed.
var cheap = control.KDF{MemoryMiB: 64, Time: 3, Parallelism: 4}

// device is a daemon in this process, with one device's folders.
type device struct {
	t     *testing.T
	root  string
	paths paths.Paths
	d     *Daemon
	log   *logText
	// exe and opener start a keeper and an opener; "": this binary does.
	exe, opener string
	// askpass is the environment of the prompting program; nil: there is none.
	askpass []string
	// bus is the environment with the system bus's address; nil: there is none.
	bus     []string
	lingers time.Duration // see Options
	stop    context.CancelFunc
	ended   chan struct{} // closed when Run has returned
}

// logText is a log that can be read.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newDevice starts a daemon on a new device.
func newDevice(t *testing.T) *device {
	t.Helper()
	dev := deviceOf(t)
	dev.start()
	return dev
}

// deviceOf returns a new device, without a daemon yet.
func deviceOf(t *testing.T) *device {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "vigil") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	return deviceIn(t, root, filepath.Join(root, "data"))
}

// beside returns a second device with the same data folder (vault file, backend and
// local master key) but its own state.
func (dev *device) beside(name string) *device {
	dev.t.Helper()
	other := deviceIn(dev.t, filepath.Join(dev.root, name), filepath.Join(dev.root, "data"))
	other.configure("[vault.default]\n")
	other.start()
	return other
}

func deviceIn(t *testing.T, root, data string) *device {
	t.Helper()
	p, err := paths.FromEnviron([]string{
		"HOME=" + root, "XDG_CONFIG_HOME=" + root + "/config", "XDG_DATA_HOME=" + data,
		"XDG_STATE_HOME=" + root + "/state", "XDG_RUNTIME_DIR=" + root + "/run",
	})
	if err != nil {
		t.Fatal(err)
	}
	return &device{t: t, root: root, paths: p, log: &logText{}}
}

// configure writes config.toml.
func (dev *device) configure(text string) {
	dev.t.Helper()
	if err := os.MkdirAll(dev.paths.Config, 0o700); err != nil {
		dev.t.Fatal(err)
	}
	if err := os.WriteFile(dev.paths.ConfigFile(), []byte(text), 0o600); err != nil {
		dev.t.Fatal(err)
	}
}

// start starts the daemon and returns when it serves.
func (dev *device) start() {
	t := dev.t
	t.Helper()
	conf, err := config.Load(dev.paths)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(dev.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var presence Presence
	if dev.bus != nil {
		presence = logind.New(dev.bus, os.Getuid(), log)
	}
	dev.d, err = New(Options{
		Paths: dev.paths, Config: conf, Exe: cmp.Or(dev.exe, exe), Opener: opener.At(cmp.Or(dev.opener, exe)), Prompter: NewPrompter(dev.askpass), lingers: dev.lingers,
		Log: log, Presence: presence,
	})
	if err != nil {
		t.Fatal(err)
	}
	listen := func(path string) *unixsock.Listener {
		l, err := unixsock.Listen(path, unixsock.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	agentSocket, controlSocket := listen(dev.paths.AgentSocket()), listen(dev.paths.ControlSocket())
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan struct{})
	dev.stop, dev.ended = stop, make(chan struct{})
	go func() {
		defer close(dev.ended)
		if err := dev.d.Run(ctx, agentSocket, controlSocket, func() { close(ready) }); err != nil {
			t.Errorf("daemon: %v", err)
		}
	}()
	<-ready
	t.Cleanup(dev.end)
}

// end stops the daemon and waits for it.
func (dev *device) end() {
	dev.t.Helper()
	dev.stop()
	within(dev.t, "the daemon's end", dev.ended)
	if strings.Contains(dev.log.String(), passphrase) {
		dev.t.Error("the log has the passphrase in it")
	}
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s takes more than %v", what, patience)
	}
}

// until polls is until it returns true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// send makes a request as vigilctl does.
func send[R any](dev *device, req control.Request[R]) (*R, error) {
	c, err := control.Dial(context.Background(), dev.paths.ControlSocket())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return control.Do(context.Background(), c, req)
}

// must is send for a request that must succeed.
func must[R any](dev *device, req control.Request[R]) *R {
	dev.t.Helper()
	r, err := send(dev, req)
	if err != nil {
		dev.t.Fatalf("%T: %v", req, err)
	}
	return r
}

// text returns a file that contains s.
func text(t *testing.T, s string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	go func() {
		_, _ = io.WriteString(w, s)
		_ = w.Close()
	}()
	return r
}

// withheld returns a passphrase pipe without an end of input.
func withheld(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	if _, err := io.WriteString(w, passphrase[:1]); err != nil {
		t.Fatal(err)
	}
	return r
}

func (dev *device) init(vault string) {
	dev.t.Helper()
	must(dev, &control.InitRequest{Vault: vault, KDF: cheap, Unlock: true, Passphrase: text(dev.t, passphrase)})
}

func (dev *device) unlockWith(pass string) error {
	_, err := send(dev, &control.UnlockRequest{Passphrase: text(dev.t, pass)})
	return err
}

func (dev *device) unlock() {
	dev.t.Helper()
	if err := dev.unlockWith(passphrase); err != nil {
		dev.t.Fatal(err)
	}
}

func (dev *device) lock() *control.LockReply {
	dev.t.Helper()
	return must(dev, &control.LockRequest{})
}

func (dev *device) generate(name string) control.Key {
	dev.t.Helper()
	return must(dev, &control.GenerateRequest{Name: name, Type: "ed25519"}).Key
}

func (dev *device) names() (names []string) {
	dev.t.Helper()
	for _, k := range must(dev, &control.ListRequest{}).Keys {
		names = append(names, k.Name)
	}
	return names
}

func (dev *device) status() control.VaultStatus {
	dev.t.Helper()
	return must(dev, &control.StatusRequest{}).Vaults[0]
}

// agent connects as ssh does.
func (dev *device) agent() agent.ExtendedAgent {
	dev.t.Helper()
	conn, err := net.Dial("unix", dev.paths.AgentSocket())
	if err != nil {
		dev.t.Fatal(err)
	}
	dev.t.Cleanup(func() { _ = conn.Close() })
	return agent.NewClient(conn)
}

func (dev *device) listed() (keys []*agent.Key) {
	dev.t.Helper()
	keys, err := dev.agent().List()
	if err != nil {
		dev.t.Fatal(err)
	}
	return keys
}

// sign signs with a listed key and verifies the signature.
func sign(a agent.ExtendedAgent, key *agent.Key) error {
	sig, err := a.Sign(key, sshtest.FileSig("file"))
	if err != nil {
		return err
	}
	public, err := ssh.ParsePublicKey(key.Blob)
	if err != nil {
		return err
	}
	return public.Verify(sshtest.FileSig("file"), sig)
}

// why returns the reasons of the newest refusals.
func (dev *device) why() (reasons []string) {
	dev.t.Helper()
	for _, r := range must(dev, &control.WhyRequest{}).Refusals {
		reasons = append(reasons, r.Reason)
	}
	return reasons
}

func wantCode(t *testing.T, err error, want control.Code) {
	t.Helper()
	var e *control.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Fatalf("got %v, want code %q", err, want)
	}
}

// children returns this process's children by role.
func children(t *testing.T) (keepers, openers []int) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skip("this system doesn't list children")
	}
	for _, path := range tasks {
		list, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		for _, field := range strings.Fields(string(list)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			command, err := os.ReadFile("/proc/" + field + "/cmdline")
			switch {
			case err != nil || len(command) == 0: // the process has ended
			case strings.Contains(string(command), keeper.Role):
				keepers = append(keepers, pid)
			case strings.HasPrefix(string(command), "vigil-opener"):
				openers = append(openers, pid)
			}
		}
	}
	return keepers, openers
}

func wantChildren(t *testing.T, keepers, openers int) {
	t.Helper()
	k, o := children(t)
	if len(k) != keepers || len(o) != openers {
		t.Fatalf("%d keepers and %d openers run, want %d and %d", len(k), len(o), keepers, openers)
	}
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
