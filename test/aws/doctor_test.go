package aws

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/internal/checkup"
	"vigil/internal/control"
	"vigil/internal/doctor"
	"vigil/internal/paths"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/s3fake"
	"vigil/internal/testing/sshtest"
)

// doctor runs `vigilctl doctor --json` as a shell that uses Vigil's agent does.
func (l *laptop) doctor(args ...string) (checks []checkup.Check, status int) {
	l.Helper()
	env := l.Env
	defer func() { l.Env = env }()
	l.Env = append(l.Env[:len(l.Env):len(l.Env)], "SSH_AUTH_SOCK="+filepath.Join(l.Dir, "run", "vigil", "agent.sock"))
	r := l.Vigilctl(append([]string{"doctor", "--json"}, args...)...)
	var reply control.DoctorReply
	if err := json.Unmarshal([]byte(r.Out), &reply); err != nil {
		l.Fatalf("doctor: %v: %s", err, r)
	}
	if failed := checkup.Failed(reply.Checks); failed != (r.Status != 0) {
		l.Errorf("doctor ends with %d, and a check failed: %t", r.Status, failed)
	}
	for _, c := range reply.Checks {
		if c.What == "" || c.Detail == "" || c.Result != checkup.OK && c.Next == "" {
			l.Errorf("a line that doesn't say what, how, or what to do: %+v", c)
		}
	}
	return reply.Checks, r.Status
}

// says fails the test unless a check of this name came out so and says text.
func says(t *testing.T, checks []checkup.Check, what string, result checkup.Result, text string) {
	t.Helper()
	for _, c := range checks {
		if c.What == what && c.Result == result && strings.Contains(c.Detail, text) {
			return
		}
	}
	t.Errorf("doctor doesn't say %s %s %q:", result, what, text)
	for _, c := range checks {
		t.Logf("  %s %s: %s → %s", c.Result, c.What, c.Detail, c.Next)
	}
}

const expires = `<Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>` +
	`<NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration></Rule>`

// TestDoctor: a set-up in which nothing is to be mended, locked and unlocked.
func TestDoctor(t *testing.T) {
	w := newWorld(t)
	w.s3.Versioning, w.s3.Lifecycle = "Enabled", expires
	l := w.laptop(w.alice)
	l.init()
	l.Unlock()
	l.AddKey("work")
	before := w.cloud.Count("kms:Decrypt")
	checks, status := l.doctor()
	if status != sshtest.StatusDone {
		t.Errorf("doctor ends with %d", status)
	}
	if n := w.cloud.Count("kms:Decrypt") - before; n != 1 {
		t.Errorf("doctor makes %d Decrypts, want 1", n)
	}
	if calls := l.Status().KMSCalls; calls.DescribeKey != int64(w.cloud.Count("kms:DescribeKey")) || calls.DescribeKey == 0 {
		t.Errorf("status counts %+v", calls)
	}
	for what, text := range map[string]string{
		"config": "1 vault in", "programs": "vigil-opener (0111)", "permissions": "", "sockets": "served by", "SSH_AUTH_SOCK": "agent.sock",
		"seccomp": "", "daemon": "pid", "lock limit": "", "vault file": "1 line in", "lease": "unlocked until", "keeper": "seccomp",
		"offline unlock": "possible until", "clock": "of the service's", "keyring": "1 identity, 1 key, epoch", "backend": "compare-and-swap",
		"retention": "30 days", "master key": w.arn, "access": "decrypts the share", "device key": "in a file",
	} {
		says(t, checks, what, checkup.OK, text)
	}
	if strings.Contains(l.Vigilctl("doctor").Out, passphrase) {
		t.Error("doctor prints the passphrase")
	}
	l.OK("lock")
	checks, _ = l.doctor()
	says(t, checks, "lease", checkup.OK, "locked")
	says(t, checks, "access", checkup.OK, "decrypts the share")
}

// TestDoctorWithoutDaemon: it checks what it can, and says what it didn't.
func TestDoctorWithoutDaemon(t *testing.T) {
	w := newWorld(t)
	l := w.newHome(w.alice)
	checks, status := l.doctor()
	if status != sshtest.StatusFailed {
		t.Errorf("doctor ends with %d", status)
	}
	says(t, checks, "daemon", checkup.Fail, "not checked without it")
	says(t, checks, "sockets", checkup.Fail, "there is no")
	says(t, checks, "programs", checkup.OK, "vigild")
	l.Write("config/vigil/config.toml", "[vault.default]\nlaese = \"3h\"\n")
	checks, _ = l.doctor()
	says(t, checks, "config", checkup.Fail, `config.toml:2: unknown key "vault.default.laese"`)
}

// TestDoctorFindsFaults: each fault of KMS, S3, clock and device, with the line
// that tells it.
func TestDoctorFindsFaults(t *testing.T) {
	w := newWorld(t)
	w.s3.Versioning, w.s3.Lifecycle = "Enabled", expires
	store := func(change, undo func(s *s3fake.Server)) func() func() {
		return func() func() {
			w.s3.Change(change)
			return func() { w.s3.Change(undo) }
		}
	}
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	for _, tc := range []struct {
		name   string
		do     func() (undo func())
		what   string
		result checkup.Result
		text   string
	}{
		{"key disabled", func() func() {
			w.kms.SetState(w.arn, kmsfake.Disabled)
			return func() { w.kms.SetState(w.arn, kmsfake.Enabled) }
		}, "access", checkup.Fail, "DisabledException"},
		{"no Decrypt", func() func() {
			l.signInAs(w.cloud.AddUser("bob", onlyS3))
			return func() { l.signInAs(w.alice) }
		}, "access", checkup.Fail, "user/bob"},
		{"KMS down", func() func() { return w.faults("kms:", awsfake.Fault{Drop: true}) }, "access", checkup.Fail, "unreachable"},
		{"KMS throttles", func() func() {
			return w.faults("kms:", awsfake.Fault{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"})
		}, "access", checkup.Fail, "unreachable: ThrottlingException"},
		{"S3 down", func() func() {
			return w.faults("s3:", awsfake.Fault{Status: 503, Code: "SlowDown", Message: "slow down"})
		}, "backend", checkup.Fail, "unreachable"},
		{"S3 read-only", func() func() {
			l.signInAs(w.cloud.AddUser("reader", `{"Statement":[{"Effect":"Allow","Action":["kms:*","s3:Get*","s3:List*"],"Resource":"*"}]}`))
			return func() { l.signInAs(w.alice) }
		}, "backend", checkup.Warn, "not written"},
		{"no compare-and-swap", store(
			func(s *s3fake.Server) { s.IgnoreConditions = true },
			func(s *s3fake.Server) { s.IgnoreConditions = false },
		), "backend", checkup.Fail, "ignores If-"},
		{"unversioned", store(
			func(s *s3fake.Server) { s.Versioning = "" },
			func(s *s3fake.Server) { s.Versioning = "Enabled" },
		), "retention", checkup.Warn, "aren't kept"},
		{"kept for ever", store(
			func(s *s3fake.Server) { s.Lifecycle = "" },
			func(s *s3fake.Server) { s.Lifecycle = expires },
		), "retention", checkup.Warn, "for ever"},
		{"clock off", func() func() {
			w.cloud.SetClock(func() time.Time { return time.Now().Add(20 * time.Minute) })
			return func() { w.cloud.SetClock(nil) }
		}, "clock", checkup.Warn, "off from the service's"},
		{"keyring of another vault", func() func() {
			members := w.s3.Object(prefix + "/members")
			w.s3.SetObject(prefix+"/members", []byte(strings.Replace(string(members), `"vigil"`, `"vigiI"`, 1)))
			return func() { w.s3.SetObject(prefix+"/members", members) }
		}, "keyring", checkup.Fail, "verify keyring"},
		{"no keyring", func() func() {
			members := w.s3.Object(prefix + "/members")
			w.s3.SetObject(prefix+"/members", nil)
			return func() { w.s3.SetObject(prefix+"/members", members) }
		}, "keyring", checkup.Fail, "has no members"},
		{"no vault file", func() func() {
			if err := os.Rename(l.VaultFile(), l.VaultFile()+".away"); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Rename(l.VaultFile()+".away", l.VaultFile()) }
		}, "vault file", checkup.Fail, "has no file"},
		{"open to others", func() func() {
			if err := os.Chmod(l.VaultFile(), 0o666); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Chmod(l.VaultFile(), 0o600) }
		}, "permissions", checkup.Fail, "vault.jsonl (uid"},
	} {
		undo := tc.do()
		checks, _ := l.doctor()
		undo()
		if t.Failed() {
			t.Logf("at %s", tc.name)
		}
		says(t, checks, tc.what, tc.result, tc.text)
		if t.Failed() {
			t.Fatalf("at %s", tc.name)
		}
	}
	if checks, status := l.doctor(); status != sshtest.StatusDone {
		t.Errorf("after all is mended: %+v", checks)
	}
}

// TestDoctorFindsOtherAgents: who claims to be the agent.
func TestDoctorFindsOtherAgents(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	other, err := sshtest.StartOpenSSHAgent(l.Dir, "ssh-agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	l.Write(".ssh/config", "Host *\n  IdentityAgent ~/.1password/agent.sock\n")
	keyring := filepath.Join(l.Dir, "run", "keyring", "ssh")
	if err := os.MkdirAll(filepath.Dir(keyring), 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", keyring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	for _, tc := range []struct{ socket, text string }{
		{"", "not set"},
		{other.Socket, "ssh-agent"},
		{l.Path("nothing"), "nobody answers"},
	} {
		env := l.Env
		l.Env = append(l.Env[:len(l.Env):len(l.Env)], "SSH_AUTH_SOCK="+tc.socket)
		r := l.Vigilctl("doctor")
		l.Env = env
		if r.Status != sshtest.StatusDone || !strings.Contains(r.Out, tc.text) {
			t.Errorf("doctor with SSH_AUTH_SOCK=%s: want %q, got %s", tc.socket, tc.text, r)
		}
		for _, text := range []string{"IdentityAgent ~/.1password/agent.sock", "GNOME Keyring"} {
			if !strings.Contains(r.Out, text) {
				t.Errorf("doctor doesn't name %q: %s", text, r)
			}
		}
	}
}

// TestDoctorReadableProgram: a program that its user can read is worth a line.
func TestDoctorReadableProgram(t *testing.T) {
	w := newWorld(t)
	l := w.newHome(w.alice)
	dir := l.Path("bin")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vigild", "vigil-opener"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	checks := localChecks(t, l, dir)
	says(t, checks, "programs", checkup.Warn, "can be read")
	if err := os.Chmod(filepath.Join(dir, "vigild"), 0o777); err != nil {
		t.Fatal(err)
	}
	says(t, localChecks(t, l, dir), "programs", checkup.Fail, "can be written by another user")
}

// localChecks does the checks that need no daemon, for programs in dir.
func localChecks(t *testing.T, l *laptop, dir string) []checkup.Check {
	t.Helper()
	p, err := paths.FromEnviron(l.Env)
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Local(doctor.Place{Paths: p, Getenv: func(string) string { return "" }, Programs: dir})
}
