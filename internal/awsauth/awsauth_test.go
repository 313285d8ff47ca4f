package awsauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"

	"vigil/internal/fault"
	"vigil/internal/testing/awsfake"
)

// setup starts an emulated STS and points the environment at it, at a caller,
// and at an AWS configuration file.
func setup(t *testing.T, configuration string) (*awsfake.Cloud, *awsfake.STS) {
	t.Helper()
	cloud := awsfake.New()
	sts := awsfake.NewSTS(cloud)
	server := httptest.NewServer(sts)
	t.Cleanup(server.Close)
	alice := cloud.AddUser("alice")
	for _, v := range alice.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	// Credentials in the environment would win over the profile's role.
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	path := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("[profile base]\naws_access_key_id = %s\naws_secret_access_key = %s\n%s", alice.AccessKeyID, alice.SecretAccessKey, configuration)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", path)
	return cloud, sts
}

const mfaProfile = `
[profile work]
role_arn = arn:aws:iam::111122223333:role/vigil
source_profile = base
mfa_serial = arn:aws:iam::111122223333:mfa/alice
`

// sessions is a Sessions in memory.
type sessions map[string][]byte

func (s sessions) Load(name string) ([]byte, error) { return bytes.Clone(s[name]), nil }

func (s sessions) Save(name string, session []byte, _ time.Time) error {
	s[name] = bytes.Clone(session)
	return nil
}

func load(t *testing.T, o Options) *Account {
	t.Helper()
	a, err := Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantNext(t *testing.T, err, kind error, next string) {
	t.Helper()
	wantKind(t, err, kind)
	var f *Fault
	if errors.As(err, &f) && f.Next != next {
		t.Errorf("%v: next %q, want %q", err, f.Next, next)
	}
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) || f.Kind != kind {
		t.Fatalf("%v (%+v), want kind %v", err, f, kind)
	}
	if f.Next == "" {
		t.Errorf("%v doesn't say what to do", err)
	}
}

func TestMFASession(t *testing.T) {
	cloud, sts := setup(t, mfaProfile)
	sts.AddRole("vigil", "arn:aws:iam::111122223333:mfa/alice", time.Hour)
	kept := sessions{}
	asked := 0
	person := func(context.Context) (string, error) { asked++; return awsfake.MFACode, nil }

	// In the background, with nothing kept: sign in needed, and no request.
	_, err := load(t, Options{Profile: "work", Sessions: kept}).SignIn(t.Context())
	wantKind(t, err, fault.ErrSignIn)
	if !errors.Is(err, errNoMFA) || len(cloud.Exchanges()) != 0 {
		t.Fatalf("%v after %d requests, want none and an error that asks for the code", err, len(cloud.Exchanges()))
	}

	// A person types the code.
	first, err := load(t, Options{Profile: "work", Sessions: kept, MFA: person}).SignIn(t.Context())
	if err != nil || asked != 1 {
		t.Fatalf("%v after asking %d times", err, asked)
	}
	if len(kept) != 1 {
		t.Fatalf("%d sessions are kept, want 1", len(kept))
	}

	// In the background again: the kept session, without a request.
	requests := len(cloud.Exchanges())
	second, err := load(t, Options{Profile: "work", Sessions: kept}).SignIn(t.Context())
	if err != nil || second.AccessKeyID != first.AccessKeyID || second.SessionToken != first.SessionToken {
		t.Fatalf("%v, the kept session came back: %v", err, second.AccessKeyID == first.AccessKeyID)
	}
	if n := len(cloud.Exchanges()); n != requests {
		t.Errorf("%d requests for a kept session", n-requests)
	}

	// One that a service refuses is forgotten.
	account := load(t, Options{Profile: "work", Sessions: kept, MFA: person})
	if _, err := account.SignIn(t.Context()); err != nil || asked != 1 {
		t.Fatalf("%v after asking %d times", err, asked)
	}
	account.Refused()
	third, err := account.SignIn(t.Context())
	if err != nil || asked != 2 || third.AccessKeyID == first.AccessKeyID {
		t.Fatalf("%v after asking %d times, with the refused session: %v", err, asked, third.AccessKeyID == first.AccessKeyID)
	}

	// A session that is damaged, or about to end, is none.
	for name, session := range map[string]string{
		"damaged": `{"access_key_id":`,
		"empty":   `{}`,
		"over":    fmt.Sprintf(`{"access_key_id":"A","secret_access_key":"S","expires":%q}`, time.Now().Add(sessionReserve/2).Format(time.RFC3339)),
	} {
		for k := range kept {
			kept[k] = []byte(session)
		}
		if _, err := load(t, Options{Profile: "work", Sessions: kept}).SignIn(t.Context()); !errors.Is(err, errNoMFA) {
			t.Errorf("%s session: %v, want to be asked for a code", name, err)
		}
	}
}

func TestSessionNameFollowsTheProfile(t *testing.T) {
	_, sts := setup(t, mfaProfile+"\n[profile other]\nrole_arn = arn:aws:iam::111122223333:role/other\nsource_profile = base\nmfa_serial = arn:aws:iam::111122223333:mfa/alice\n")
	sts.AddRole("vigil", "arn:aws:iam::111122223333:mfa/alice", time.Hour)
	sts.AddRole("other", "arn:aws:iam::111122223333:mfa/alice", time.Hour)
	kept := sessions{}
	person := func(context.Context) (string, error) { return awsfake.MFACode, nil }
	for _, profile := range []string{"work", "other"} {
		if _, err := load(t, Options{Profile: profile, Sessions: kept, MFA: person}).SignIn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) != 2 {
		t.Errorf("two roles keep %d sessions, want 2", len(kept))
	}
}

func TestWrongMFACode(t *testing.T) {
	_, sts := setup(t, mfaProfile)
	sts.AddRole("vigil", "arn:aws:iam::111122223333:mfa/alice", time.Hour)
	_, err := load(t, Options{Profile: "work", MFA: func(context.Context) (string, error) { return "000000", nil }}).SignIn(t.Context())
	wantNext(t, err, fault.ErrSignIn, "Try again with a fresh MFA code.")
}

func TestRoleWithoutMFA(t *testing.T) {
	cloud, sts := setup(t, strings.Replace(mfaProfile, "mfa_serial", "# ", 1))
	sts.AddRole("vigil", "", time.Hour)
	kept := sessions{}
	if _, err := load(t, Options{Profile: "work", Sessions: kept}).SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 0 {
		t.Error("a session that costs no code was kept")
	}
	// The session's name is constant, so that the caller's ARN is.
	if body := string(cloud.Exchanges()[0].Body); !strings.Contains(body, "RoleSessionName=vigil") {
		t.Errorf("AssumeRole asks for %s", body)
	}
}

func TestRoleThatIsNotOurs(t *testing.T) {
	setup(t, strings.Replace(mfaProfile, "mfa_serial", "# ", 1))
	_, err := load(t, Options{Profile: "work"}).SignIn(t.Context())
	wantKind(t, err, fault.ErrDenied)
}

func TestNobodyIsSignedIn(t *testing.T) {
	setup(t, "")
	_, err := load(t, Options{}).SignIn(t.Context())
	wantKind(t, err, fault.ErrSignIn)
}

func TestExpiredSSO(t *testing.T) {
	setup(t, "\n[profile work]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = dev\n\n[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-central-1\n")
	t.Setenv("HOME", t.TempDir()) // where the SDK looks for the SSO token
	_, err := load(t, Options{Profile: "work"}).SignIn(t.Context())
	wantKind(t, err, fault.ErrSignIn)
}

func TestFailingCredentialProcess(t *testing.T) {
	setup(t, "\n[profile work]\ncredential_process = /bin/false\n")
	_, err := load(t, Options{Profile: "work"}).SignIn(t.Context())
	wantKind(t, err, fault.ErrSignIn)
}

func TestUnknownProfile(t *testing.T) {
	setup(t, "")
	_, err := Load(t.Context(), Options{Profile: "wrok"})
	wantKind(t, err, fault.ErrMisconfigured)
	var missing config.SharedConfigProfileNotExistError
	if !errors.As(err, &missing) {
		t.Errorf("the cause %v is lost", err)
	}
}

func TestStoppedNetwork(t *testing.T) {
	_, sts := setup(t, strings.Replace(mfaProfile, "mfa_serial", "# ", 1))
	sts.AddRole("vigil", "", time.Hour)
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1") // nobody listens there
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	_, err := load(t, Options{Profile: "work"}).SignIn(t.Context())
	wantKind(t, err, fault.ErrUnreachable)
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"https://kms.eu-central-1.amazonaws.com": true,
		"https://minio.example:9000":             true,
		"http://127.0.0.1:8080":                  true,
		"http://[::1]:8080":                      true,
		"http://localhost:8080":                  true,
		"http://192.168.1.10:9000":               false,
		"http://169.254.169.254":                 false,
		"http://localhost.example":               false,
		"http://kms.example":                     false,
		"kms.example":                            false,
		"ftp://kms.example":                      false,
		"https://":                               false,
		"https://me:secret@kms.example":          false,
		"https://kms.example?x=y":                false,
		"http://%zz":                             false,
	} {
		if err := CheckEndpoint(endpoint); (err == nil) != ok {
			t.Errorf("CheckEndpoint(%q) = %v, want it accepted: %v", endpoint, err, ok)
		}
	}
}

func TestMetadataAddressesAreForCredentialsOnly(t *testing.T) {
	for host, want := range map[string]bool{"169.254.169.254": true, "169.254.170.2": true, "fd00:ec2::23": true, "10.0.0.1": false, "fd00::1": false} {
		if got := isLocal(host, true); got != want {
			t.Errorf("isLocal(%q, true) = %v", host, got)
		}
		if isLocal(host, false) {
			t.Errorf("isLocal(%q, false) = true", host)
		}
	}
}

func TestBackoffGrowsAndEnds(t *testing.T) {
	for attempt := range 40 {
		for range 50 {
			if d, err := backoff(attempt, nil); err != nil || d < 0 || d > maxBackoff || attempt <= 1 && d > firstBackoff {
				t.Fatalf("backoff(%d) = %v, %v", attempt, d, err)
			}
		}
	}
}

func TestSortShortensWhatAServiceSays(t *testing.T) {
	f := Sort(&smithy.GenericAPIError{Code: "Odd", Message: strings.Repeat("ä", 1000)})
	if f.Kind != nil || len(f.Error()) > 2*maxMessage {
		t.Errorf("kind %v, %d bytes", f.Kind, len(f.Error()))
	}
	if Sort(nil) != nil {
		t.Error("Sort(nil) is a fault")
	}
	if again := Sort(fmt.Errorf("wrapped: %w", f)); again != f {
		t.Error("a sorted fault was sorted again")
	}
}
