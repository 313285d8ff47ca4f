package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"vigil/internal/testing/sshtest"
)

// The environment of `make test-clients`, for the process that prepares the tests.
const (
	wanted = "VIGIL_TEST_CLIENTS" // set: run them
	// newestVariable has the command that runs the newest OpenSSH's ssh.
	newestVariable = "TEST_CLIENTS_NEWEST_SSH"
)

func TestMain(m *testing.M) {
	if sshtest.World() == "" && os.Getenv(wanted) == "" {
		fmt.Println("skipped: make test-clients installs the clients, and runs this")
		return
	}
	sshtest.Main(m, "vigild", "vigil-opener", "vigilctl")
}

// sources is where the clients' programs are, and built where those are that need a compiler.
var sources = must(filepath.Abs("testdata"))

func built(name string) string { return filepath.Join(sshtest.World(), "w", "built", name) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// keyTypes are the types of keys to log in with, as ssh-keygen names them.
var keyTypes = []string{"ed25519", "ecdsa", "rsa"}

// agents of the same key.
const (
	openSSHAgent = "OpenSSH's agent"
	vigil        = "Vigil"
	vigilSHA1    = "Vigil, SHA-1 allowed"
)

// TestClients: every client that logs in with a key of OpenSSH's agent logs in with a
// key of a vault. The exception are clients that ask for RSA signatures with SHA-1: they
// need --allow-sha1, and `vigilctl why` says so.
func TestClients(t *testing.T) {
	compile(t)
	w := newWorld(t)
	list := all(strings.Fields(os.Getenv(newestVariable)))
	if len(list) < 20 {
		t.Fatalf("%d clients, want 20", len(list))
	}
	worked := map[string]int{}
	for _, c := range list {
		before := w.why()
		got := w.try(t, c)
		told := w.why() != before && strings.Contains(w.why(), "--allow-sha1")
		any := false
		for _, kind := range keyTypes {
			theirs, ours, allowed := got[kind][openSSHAgent], got[kind][vigil], got[kind][vigilSHA1]
			any = any || theirs.in
			if theirs.in {
				worked[kind]++
			}
			t.Logf("%-28s %-8s %s", c.name, kind, verdict(theirs.in, ours.in, allowed.in))
			switch {
			case !theirs.in || ours.in:
			case kind == "rsa" && allowed.in && told:
			default:
				t.Errorf("%s, %s: logs in with OpenSSH's agent, and not with Vigil:\n%s\nsshd: %s", c.name, kind, ours.output, ours.log)
			}
		}
		if !any {
			t.Errorf("%s logs in with no key of OpenSSH's agent:\n%s\n%s\n%s", c.name, got["ed25519"][openSSHAgent].output, got["rsa"][openSSHAgent].output, got["rsa"][openSSHAgent].log)
		}
	}
	for _, kind := range keyTypes {
		if worked[kind] < 15 {
			t.Errorf("%d clients log in with %s keys of OpenSSH's agent: too few to say anything", worked[kind], kind)
		}
	}
}

func verdict(theirs, ours, allowed bool) string {
	switch {
	case !theirs:
		return "doesn't log in with OpenSSH's agent either"
	case ours:
		return "logs in"
	case allowed:
		return "logs in with --allow-sha1"
	}
	return "doesn't log in"
}

// compile builds the clients in C and Java.
func compile(t *testing.T) {
	t.Helper()
	dir := filepath.Dir(built("x"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"gcc", "-o", built("libssh2"), source("libssh2.c"), "-lssh2"},
		{"gcc", "-o", built("libssh"), source("libssh.c"), "-lssh"},
		{"javac", "-cp", jschPath, "-d", dir, source("Jsch.java")},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// world has one key of each type, each in an agent of its own of each kind.
type world struct {
	dir        string
	user       string
	rsaHostKey string
	sockets    map[string]map[string]string // by key type and agent
	why        func() string                // what Vigil with the RSA key tells of refusals
}

func newWorld(t *testing.T) *world {
	w := &world{dir: sshtest.NewDir(t), user: must(user.Current()).Username, sockets: map[string]map[string]string{}}
	w.rsaHostKey = filepath.Join(w.dir, "rsa_host_key")
	run(t, "ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", w.rsaHostKey)
	run(t, "git", "init", "-q", "--bare", w.repository())
	for _, kind := range keyTypes {
		key := w.key(kind)
		run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key)
		theirs, err := sshtest.StartOpenSSHAgent(sshtest.NewDir(t), "ssh-agent")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = theirs.Close() })
		add := exec.Command("ssh-add", "-q", key)
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+theirs.Socket)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
		w.sockets[kind] = map[string]string{openSSHAgent: theirs.Socket}
		for _, name := range []string{vigil, vigilSHA1} {
			if name == vigilSHA1 && kind != "rsa" {
				continue
			}
			h := sshtest.NewHome(t, "correct horse battery staple")
			h.Start()
			h.OK(h.By("init")...)
			h.Unlock()
			h.OK("add", key, "--name", kind)
			if name == vigilSHA1 {
				h.OK(h.By("edit", kind, "--allow-sha1")...)
			}
			w.sockets[kind][name] = h.Agent.Socket
			if kind == "rsa" && name == vigil {
				w.why = func() string { return h.OK("why").Out }
			}
		}
	}
	return w
}

func (w *world) key(kind string) string { return filepath.Join(w.dir, "id_"+kind) }
func (w *world) repository() string     { return filepath.Join(w.dir, "repository.git") }

// attempt is what came of a client and an agent.
type attempt struct {
	in          bool
	output, log string
}

// try runs a client once with each key and agent, each time at a server of its own.
func (w *world) try(t *testing.T, c client) map[string]map[string]attempt {
	got := map[string]map[string]attempt{}
	var mu sync.Mutex
	var running sync.WaitGroup
	for kind, sockets := range w.sockets {
		got[kind] = map[string]attempt{}
		for agent, socket := range sockets {
			to := w.server(t, kind, socket)
			running.Go(func() {
				defer to.Close()
				out, err := c.run(context.WithoutCancel(t.Context()), to)
				log, _ := os.ReadFile(to.LogFile)
				mu.Lock()
				defer mu.Unlock()
				got[kind][agent] = attempt{strings.Contains(string(log), "Accepted publickey for "+w.user), fmt.Sprintf("%s%v", out, err), string(log)}
			})
		}
		running.Wait()
	}
	return got
}

// server starts a server that takes one key, from old clients too.
func (w *world) server(t *testing.T, kind, socket string) *target {
	t.Helper()
	dir := sshtest.NewDir(t)
	host, err := sshtest.StartHost(sshtest.HostOptions{Name: "host", Dir: dir, AuthorizedKeys: w.key(kind) + ".pub", Options: []string{
		"HostKey " + w.rsaHostKey, "HostKeyAlgorithms +ssh-rsa", "PubkeyAcceptedAlgorithms +ssh-rsa",
		"KexAlgorithms +diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1", "MACs +hmac-sha1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	to := &target{Host: host, user: w.user, socket: socket, home: dir, known: filepath.Join(dir, "known_hosts"), repository: w.repository()}
	var known strings.Builder
	for _, file := range []string{host.HostKey, w.rsaHostKey + ".pub"} {
		key := string(must(os.ReadFile(file)))
		fmt.Fprintf(&known, "[%s]:%d %s%s %s", address, host.Port, key, address, key)
		fields := strings.Fields(string(must(exec.Command("ssh-keygen", "-l", "-f", file).Output())))
		to.hostKeys = append(to.hostKeys, fields[1])
	}
	if err := os.WriteFile(to.known, []byte(known.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
