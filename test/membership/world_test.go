package membership

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/sshtest"
	"vigil/internal/vaultfile"
)

func TestMain(m *testing.M) {
	// They wait more than they work: for disks, and for clients that try again.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	sshtest.Main(m, "vigild", "vigil-opener", "vigilctl")
}

const (
	ownerPassphrase  = "correct horse battery staple"
	memberPassphrase = "trombone umbrella windmill"
	nextPassphrase   = "another one entirely"
	// patience bounds the wait for what must happen by itself.
	patience = 30 * time.Second
)

// Exit statuses of vigilctl.
const (
	statusFailed  = 1
	statusLocked  = 3
	statusWrong   = 4
	statusRefused = 7
)

// cheapKDF are flags for the cheapest Argon2id that a vault may have.
var cheapKDF = []string{"--kdf-memory=64", "--kdf-time=3", "--kdf-parallelism=1"}

// home is a device: folders and a vigild of its own.
type home struct {
	*testing.T
	dir  string
	env  []string
	vigi *sshtest.Agent
	pass string // file that holds the passphrase
}

// newHome makes a home in which nothing runs. env is added to its environment.
func newHome(t *testing.T, passphrase string, env ...string) *home {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "m") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &home{T: t, dir: dir, env: append(sshtest.VigilEnvironment(dir), env...)}
	h.pass = h.write("pass", passphrase+"\n")
	return h
}

// start starts vigild; it is stopped when the test ends.
func (h *home) start() {
	h.Helper()
	a, err := sshtest.StartVigild(h.dir, sshtest.Binary(h, "vigild"), h.env...)
	if err != nil {
		h.Fatal(err)
	}
	h.vigi = a
	h.Cleanup(func() {
		if err := a.Close(); err != nil {
			h.Error(err)
		}
		if log, err := os.ReadFile(a.LogFile); err == nil && h.Failed() {
			h.Logf("log of vigild in %s:\n%s", filepath.Base(h.dir), log)
		}
	})
}

func (h *home) restart() {
	h.Helper()
	if err := h.vigi.Close(); err != nil {
		h.Fatal(err)
	}
	h.start()
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

func (h *home) write(name, text string) string {
	h.Helper()
	path := h.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
	return path
}

func (h *home) read(path string) []byte {
	h.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	return text
}

// result is what a command printed, and its exit status.
type result struct {
	out, err string
	status   int
}

func (r result) String() string {
	return fmt.Sprintf("status %d\nstdout: %s\nstderr: %s", r.status, r.out, r.err)
}

func (h *home) ctl(args ...string) result {
	h.Helper()
	cmd := exec.Command(sshtest.Binary(h, "vigilctl"), args...)
	cmd.Env = append(os.Environ(), h.env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.Fatalf("vigilctl %s: %v", args[0], err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// ok runs vigilctl, which must succeed.
func (h *home) ok(args ...string) result {
	h.Helper()
	r := h.ctl(args...)
	if r.status != 0 {
		h.Fatalf("vigilctl %s: %s", strings.Join(args, " "), r)
	}
	return r
}

// fails runs vigilctl, which must end with status and print text.
func (h *home) fails(status int, text string, args ...string) {
	h.Helper()
	if r := h.ctl(args...); r.status != status || !strings.Contains(r.err, text) {
		h.Errorf("vigilctl %s: want status %d and %q, got %s", strings.Join(args, " "), status, text, r)
	}
}

func (h *home) json(into any, args ...string) {
	h.Helper()
	r := h.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		h.Fatalf("vigilctl %s: %v\n%s", args[0], err, r.out)
	}
}

// by appends the flag with this home's passphrase.
func (h *home) by(args ...string) []string { return append(args, "--passphrase-file", h.pass) }

func (h *home) unlock() { h.Helper(); h.ok(h.by("unlock")...) }

// found makes the vault in a home with a backend and a master; "": the local ones.
func (h *home) found(backend, master string) {
	h.Helper()
	args := append(h.by("init", "--unlock"), cheapKDF...)
	if backend != "" {
		args = append(args, "--backend", backend)
	}
	if master != "" {
		args = append(args, "--master", master)
	}
	h.ok(args...)
}

// addKey makes a key with ssh-keygen and imports it.
func (h *home) addKey(name string) {
	h.Helper()
	path := h.path(name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path).CombinedOutput(); err != nil {
		h.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	h.ok("add", path)
}

func (h *home) vault() control.VaultStatus {
	h.Helper()
	var s control.StatusReply
	h.json(&s, "status")
	return s.Vaults[0]
}

func (h *home) agent() agent.ExtendedAgent {
	h.Helper()
	conn, err := net.Dial("unix", h.vigi.Socket)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = conn.Close() })
	return agent.NewClient(conn)
}

// sign signs with the key of this comment and verifies the signature.
func (h *home) sign(comment string) error {
	h.Helper()
	return signWith(h.agent(), comment)
}

func signWith(a agent.Agent, comment string) error {
	keys, err := a.List()
	if err != nil {
		return err
	}
	data := []byte("what is signed")
	for _, k := range keys {
		if k.Comment != comment {
			continue
		}
		sig, err := a.Sign(k, data)
		if err != nil {
			return err
		}
		pub, err := ssh.ParsePublicKey(k.Blob)
		if err != nil {
			return err
		}
		return pub.Verify(data, sig)
	}
	return fmt.Errorf("no key %q is listed", comment)
}

func (h *home) signs(comments ...string) {
	h.Helper()
	for _, comment := range comments {
		if err := h.sign(comment); err != nil {
			h.Errorf("sign with %q: %v", comment, err)
		}
	}
}

// eventually waits until ok says nothing.
func (h *home) eventually(what string, ok func() error) {
	h.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond) // vigild does it by itself; nothing says when
	}
}

func (h *home) vaultFile() string { return h.path("data/vigil/vaults/default/vault.jsonl") }

// takeFile brings the vault file of another home here, as a sync tool does.
func (h *home) takeFile(from *home) {
	h.Helper()
	next := h.write("data/vigil/vaults/default/.next", string(from.read(from.vaultFile())))
	if err := os.Rename(next, h.vaultFile()); err != nil {
		h.Fatal(err)
	}
}

// vaultID is the id in the vault file.
func (h *home) vaultID() id.Vault {
	h.Helper()
	f, err := vaultfile.Parse(h.read(h.vaultFile()), id.Vault{})
	if err != nil {
		h.Fatal(err)
	}
	return f.Vault()
}

// shared is a place for a keyring that several homes of this machine share.
func shared(t *testing.T) (uri, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return "file://" + dir, dir
}

// stored reads the keyring in a folder.
func (h *home) stored(dir string) (*keyring.Members, *keyring.Deks) {
	h.Helper()
	members, err := keyring.ParseMembers(h.read(filepath.Join(dir, "members")), h.vaultID())
	if err != nil {
		h.Fatal(err)
	}
	deks, err := keyring.ParseDeks(h.read(filepath.Join(dir, "deks")), h.vaultID())
	if err != nil {
		h.Fatal(err)
	}
	return members, deks
}

// request asks in a home to be let in, and returns what it printed.
func (h *home) request(args ...string) (r control.IdentityRequestReply) {
	h.Helper()
	h.json(&r, append(append(h.by("identity", "request"), cheapKDF...), args...)...)
	return r
}

// admit lets in whoever made a request.
func (h *home) admit(r control.IdentityRequestReply, role string) {
	h.Helper()
	h.ok(h.by("identity", "admit", h.write("request", r.Text), "--words", r.Words, "--role", role)...)
}

// two is a vault with an owner's home and one that was admitted in a role, both unlocked.
func two(t *testing.T, role string) (owner, other *home, dir string) {
	t.Helper()
	t.Parallel()
	uri, dir := shared(t)
	owner = newHome(t, ownerPassphrase)
	owner.start()
	owner.found(uri, "")
	owner.addKey("shared")
	other = newHome(t, memberPassphrase)
	other.takeFile(owner)
	other.start()
	owner.admit(other.request("--backend", uri, "--name", "other"), role)
	other.unlock()
	other.signs("shared")
	return owner, other, dir
}
