package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/awsfake"
	"vigil/internal/backend/s3/s3fake"
	"vigil/internal/control"
	"vigil/internal/kmsfake"
	"vigil/internal/sshtest"
)

// realClients is set in make test-aws: what needs versitygw or much time runs
// there only. sshtest takes VIGIL_… out of the tests' environment.
const realClients = "TEST_AWS_REAL"

func TestMain(m *testing.M) {
	if value := os.Getenv("VIGIL_TEST_AWS"); value != "" {
		if err := os.Setenv(realClients, value); err != nil {
			panic(err)
		}
	}
	sshtest.Main(m, "vigild", "vigil-opener", "vigilctl")
}

const (
	passphrase = "correct horse battery staple"
	bucket     = "keyrings"
	prefix     = "team"
	// patience bounds the wait for what must happen by itself.
	patience = time.Minute
)

// Exit statuses of vigilctl.
const (
	statusDone        = 0
	statusFailed      = 1
	statusLocked      = 3
	statusWrong       = 4
	statusUnreachable = 6
	statusRefused     = 7
)

// world is an AWS account with a master key and a bucket, and a user.
type world struct {
	*testing.T

	cloud *awsfake.Cloud
	kms   *kmsfake.Server
	s3    *s3fake.Server
	sts   *awsfake.STS
	arn   string // of the master key
	alice *awsfake.Caller

	kmsURL, s3URL, stsURL string
}

func newWorld(t *testing.T) *world {
	t.Parallel() // each has an account and homes of its own
	w := &world{T: t, cloud: awsfake.New()}
	w.kms = kmsfake.New(w.cloud)
	w.arn = w.kms.CreateKey("alias/vigil")
	w.s3 = s3fake.New(w.cloud, bucket)
	w.sts = awsfake.NewSTS(w.cloud)
	w.alice = w.cloud.AddUser("alice")
	kms, s3, sts := httptest.NewServer(w.kms), httptest.NewServer(w.s3), httptest.NewServer(w.sts)
	t.Cleanup(func() {
		kms.Close()
		s3.Close()
		sts.Close()
	})
	w.kmsURL, w.s3URL, w.stsURL = kms.URL, s3.URL, sts.URL
	return w
}

// master is the URI of a key of the emulated KMS, backend that of its bucket.
func (w *world) master(key string) string {
	return "awskms:///" + key + "?endpoint=" + url.QueryEscape(w.kmsURL)
}

func (w *world) backend() string {
	return "s3://" + bucket + "/" + prefix + "?endpoint=" + url.QueryEscape(w.s3URL)
}

// laptop is a home with a vigild of its own.
type laptop struct {
	w    *world
	home string
	env  []string
	vigi *sshtest.Agent
	pass string // file that holds the passphrase
}

// laptop makes a home whose AWS credentials are those of caller, and starts
// vigild there with settings in config.toml.
func (w *world) laptop(caller *awsfake.Caller, settings ...string) *laptop {
	w.Helper()
	l := w.newHome(caller, settings...)
	l.start()
	return l
}

// newHome makes a home in which nothing runs.
func (w *world) newHome(caller *awsfake.Caller, settings ...string) *laptop {
	w.Helper()
	home, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "h") // short, for sockets
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = os.RemoveAll(home) })
	l := &laptop{w: w, home: home, pass: filepath.Join(home, "pass")}
	l.env = append(sshtest.VigilEnvironment(home),
		"AWS_CONFIG_FILE="+filepath.Join(home, "aws-config"),
		"AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(home, "aws-credentials"),
		"AWS_EC2_METADATA_DISABLED=true", "AWS_ENDPOINT_URL_STS="+w.stsURL)
	l.write("pass", passphrase+"\n")
	l.write("aws-config", "[default]\nregion = "+awsfake.Region+"\n")
	l.signInAs(caller)
	if len(settings) > 0 {
		l.configure(settings...)
	}
	return l
}

// start starts vigild; it is stopped when the test ends.
func (l *laptop) start() {
	l.w.Helper()
	a, err := sshtest.StartVigild(l.home, sshtest.Binary(l.w, "vigild"), l.env...)
	if err != nil {
		l.w.Fatal(err)
	}
	l.vigi = a
	l.w.eventually("the control socket answers", func() error { // it comes after the agent's
		c, err := control.Dial(l.w.Context(), filepath.Join(l.home, "run", "vigil", "control.sock"))
		if c != nil {
			c.Close()
		}
		if e := control.AsError(err); e != nil && e.Code == control.CodeNoDaemon {
			return e // of another build it is an answer, too
		}
		return nil
	})
	l.w.Cleanup(func() {
		if err := a.Close(); err != nil {
			l.w.Error(err)
		}
		if log, err := os.ReadFile(a.LogFile); err == nil && l.w.Failed() {
			l.w.Logf("log of vigild in %s:\n%s", filepath.Base(l.home), log)
		}
	})
}

// restart ends vigild and starts it anew.
func (l *laptop) restart() {
	l.w.Helper()
	if err := l.vigi.Close(); err != nil {
		l.w.Fatal(err)
	}
	l.start()
}

func (l *laptop) write(name, text string) string {
	l.w.Helper()
	path := filepath.Join(l.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.w.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.w.Fatal(err)
	}
	return path
}

// configure writes settings of the default vault to config.toml, such as
// `lease = "3s"`.
func (l *laptop) configure(settings ...string) {
	l.write("config/vigil/config.toml", "[vault.default]\n"+strings.Join(settings, "\n")+"\n")
}

// signInAs makes the AWS credentials of this home those of caller. The opener
// reads them at each job.
func (l *laptop) signInAs(c *awsfake.Caller) {
	text := "[default]\naws_access_key_id = " + c.AccessKeyID + "\naws_secret_access_key = " + c.SecretAccessKey + "\n"
	if c.SessionToken != "" {
		text += "aws_session_token = " + c.SessionToken + "\n"
	}
	l.write("aws-credentials", text)
}

// result is what a command printed, and its exit status.
type result struct {
	out, err string
	status   int
}

func (r result) String() string {
	return fmt.Sprintf("status %d\nstdout: %s\nstderr: %s", r.status, r.out, r.err)
}

// ctl runs vigilctl.
func (l *laptop) ctl(args ...string) result {
	l.w.Helper()
	cmd := exec.Command(sshtest.Binary(l.w, "vigilctl"), args...)
	cmd.Env = append(os.Environ(), l.env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.w.Errorf("vigilctl %s: %v", args[0], err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// ok runs vigilctl, which must succeed.
func (l *laptop) ok(args ...string) result {
	l.w.Helper()
	r := l.ctl(args...)
	if r.status != statusDone {
		l.w.Fatalf("vigilctl %s: %s", strings.Join(args, " "), r)
	}
	return r
}

// fails runs vigilctl, which must end with status and print every text.
func (l *laptop) fails(status int, texts []string, args ...string) result {
	l.w.Helper()
	r := l.ctl(args...)
	if r.status != status {
		l.w.Errorf("vigilctl %s: want status %d, got %s", strings.Join(args, " "), status, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.err, text) {
			l.w.Errorf("vigilctl %s doesn't say %q: %s", strings.Join(args, " "), text, r)
		}
	}
	return r
}

// cheapKDF are flags for the cheapest Argon2id that a vault may have.
var cheapKDF = []string{"--kdf-memory=64", "--kdf-time=3", "--kdf-parallelism=1"}

// initArgs is the command line that makes the default vault.
func (l *laptop) initArgs(more ...string) []string {
	args := append([]string{"init", "--master", l.w.master(l.w.arn), "--backend", l.w.backend(), "--passphrase-file", l.pass}, cheapKDF...)
	return append(args, more...)
}

// unlockArgs is the command line that unlocks it.
func (l *laptop) unlockArgs() []string { return []string{"unlock", "--passphrase-file", l.pass} }

func (l *laptop) init()   { l.w.Helper(); l.ok(l.initArgs()...) }
func (l *laptop) unlock() { l.w.Helper(); l.ok(l.unlockArgs()...) }

// addKey makes a key with ssh-keygen and imports it. Its private file stays in
// the home under its name.
func (l *laptop) addKey(name string) {
	l.w.Helper()
	path := filepath.Join(l.home, name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path).CombinedOutput(); err != nil {
		l.w.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	l.ok("add", path)
}

// status is what `vigilctl status --json` says.
func (l *laptop) status() control.StatusReply {
	l.w.Helper()
	var s control.StatusReply
	l.json(&s, "status")
	return s
}

func (l *laptop) json(into any, args ...string) {
	l.w.Helper()
	r := l.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		l.w.Fatalf("vigilctl %s: %v\n%s", args[0], err, r.out)
	}
}

// vault is the default vault's status.
func (l *laptop) vault() control.VaultStatus {
	l.w.Helper()
	return l.status().Vaults[0]
}

// agent connects to the agent socket as ssh does.
func (l *laptop) agent() agent.ExtendedAgent {
	l.w.Helper()
	conn, err := net.Dial("unix", l.vigi.Socket)
	if err != nil {
		l.w.Fatal(err)
	}
	l.w.Cleanup(func() { _ = conn.Close() })
	return agent.NewClient(conn)
}

// listed are the comments of the keys that the agent lists, sorted.
func (l *laptop) listed() []string {
	l.w.Helper()
	keys, err := l.agent().List()
	if err != nil {
		l.w.Fatal(err)
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Comment)
	}
	slices.Sort(names)
	return names
}

// sign signs with the key of this comment and verifies the signature.
func (l *laptop) sign(comment string) error {
	l.w.Helper()
	a := l.agent()
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

// signs fails the test unless the key of this comment signs.
func (l *laptop) signs(comment string) {
	l.w.Helper()
	if err := l.sign(comment); err != nil {
		l.w.Errorf("sign with %q: %v", comment, err)
	}
}

// eventually waits until ok says nothing.
func (w *world) eventually(what string, ok func() error) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond) // vigild does it by itself; nothing says when
	}
}

// becomes waits until the vault is in a state.
func (l *laptop) becomes(state control.VaultState) control.VaultStatus {
	l.w.Helper()
	var v control.VaultStatus
	l.w.eventually("vault becomes "+string(state), func() error {
		if v = l.vault(); v.State != state {
			return fmt.Errorf("it is %s: %s", v.State, v.Problem)
		}
		return nil
	})
	return v
}

// vaultFile is the path of the default vault's file.
func (l *laptop) vaultFile() string {
	return filepath.Join(l.home, "data", "vigil", "vaults", "default", "vault.jsonl")
}

// copyVault copies vault file and settings of the default vault from another
// home, as a sync tool and a person do.
func (l *laptop) copyVault(from *laptop) {
	l.w.Helper()
	l.copyFile(from, "data/vigil/vaults/default/vault.jsonl")
	text, err := os.ReadFile(filepath.Join(from.home, "config/vigil/vaults.d/default.toml"))
	if err != nil {
		l.w.Fatal(err)
	}
	l.write("config/vigil/vaults.d/default.toml", strings.ReplaceAll(string(text), from.home, l.home))
}

func (l *laptop) copyFile(from *laptop, name string) {
	l.w.Helper()
	f, err := os.Open(filepath.Join(from.home, name))
	if err != nil {
		l.w.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		l.w.Fatal(err)
	}
	// Renamed, as good sync tools do it.
	if err := os.Rename(l.write(name+".new", string(text)), filepath.Join(l.home, name)); err != nil {
		l.w.Fatal(err)
	}
}

// faults makes every request whose action begins with prefix fail, until end.
func (w *world) faults(prefix string, f awsfake.Fault) (end func()) {
	w.cloud.SetFault(func(c awsfake.Call) awsfake.Fault {
		if strings.HasPrefix(c.Action, prefix) {
			return f
		}
		return awsfake.Fault{}
	})
	return func() { w.cloud.SetFault(nil) }
}

// nth makes what f says of the nth request fail (from 1), and tells how many came.
type nth struct {
	mu sync.Mutex
	n  int
	at map[int]awsfake.Fault
}

func (c *nth) fault(awsfake.Call) awsfake.Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.at[c.n]
}
