package aws

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/s3fake"
	"vigil/internal/testing/sshtest"
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
	*sshtest.Home
	w *world
}

// laptop makes a home whose AWS credentials are those of caller, and starts
// vigild there with settings in config.toml.
func (w *world) laptop(caller *awsfake.Caller, settings ...string) *laptop {
	w.Helper()
	l := w.newHome(caller, settings...)
	l.Start()
	return l
}

// newHome makes a home in which nothing runs.
func (w *world) newHome(caller *awsfake.Caller, settings ...string) *laptop {
	w.Helper()
	l := &laptop{Home: sshtest.NewHome(w, passphrase), w: w}
	l.Env = append(l.Env,
		"AWS_CONFIG_FILE="+l.Path("aws-config"),
		"AWS_SHARED_CREDENTIALS_FILE="+l.Path("aws-credentials"),
		"AWS_EC2_METADATA_DISABLED=true", "AWS_ENDPOINT_URL_STS="+w.stsURL)
	l.Write("aws-config", "[default]\nregion = "+awsfake.Region+"\n")
	l.signInAs(caller)
	if len(settings) > 0 {
		l.configure(settings...)
	}
	return l
}

// configure writes settings of the default vault to config.toml, such as
// `lease = "3s"`.
func (l *laptop) configure(settings ...string) {
	l.Write("config/vigil/config.toml", "[vault.default]\n"+strings.Join(settings, "\n")+"\n")
}

// signInAs makes the AWS credentials of this home those of caller. The opener
// reads them at each job.
func (l *laptop) signInAs(c *awsfake.Caller) {
	text := "[default]\naws_access_key_id = " + c.AccessKeyID + "\naws_secret_access_key = " + c.SecretAccessKey + "\n"
	if c.SessionToken != "" {
		text += "aws_session_token = " + c.SessionToken + "\n"
	}
	l.Write("aws-credentials", text)
}

// initArgs is the command line that makes the default vault.
func (l *laptop) initArgs(more ...string) []string {
	args := append([]string{"init", "--master", l.w.master(l.w.arn), "--backend", l.w.backend(), "--passphrase-file", l.Pass}, sshtest.CheapKDF...)
	return append(args, more...)
}

func (l *laptop) init() { l.Helper(); l.OK(l.initArgs()...) }

// becomes waits until the vault is in a state.
func (l *laptop) becomes(state control.VaultState) control.VaultStatus {
	l.Helper()
	var v control.VaultStatus
	sshtest.Eventually(l.w, "vault becomes "+string(state), func() error {
		if v = l.Vault(); v.State != state {
			return fmt.Errorf("it is %s: %s", v.State, v.Problem)
		}
		return nil
	})
	return v
}

// copyVault copies vault file and settings of the default vault from another
// home, as a sync tool and a person do.
func (l *laptop) copyVault(from *laptop) {
	l.Helper()
	const settings = "config/vigil/vaults.d/default.toml"
	l.TakeVaultFile(from.Home)
	l.Write(settings, strings.ReplaceAll(string(l.Read(from.Path(settings))), from.Dir, l.Dir))
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
