package awskms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"vigil/internal/awsauth"
	"vigil/internal/fault"
	"vigil/internal/master"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/mastertest"
)

// cloud is an emulated KMS with one key, and a caller whose credentials are in
// the environment.
type cloud struct {
	*awsfake.Cloud
	kms    *kmsfake.Server
	caller *awsfake.Caller
	url    string
	key    string // ARN
}

func newCloud(t *testing.T, policies ...string) cloud {
	t.Helper()
	c := cloud{Cloud: awsfake.New()}
	c.kms = kmsfake.New(c.Cloud)
	c.key = c.kms.CreateKey("alias/vigil")
	c.caller = c.AddUser("alice", policies...)
	server := httptest.NewServer(c.kms)
	t.Cleanup(server.Close)
	c.url = server.URL
	c.caller.Setenv(t)
	return c
}

func (c cloud) uri(key string) master.URI {
	return master.URI{Scheme: master.SchemeAWSKMS, KeyID: key, Endpoint: c.url}
}

func (c cloud) open(t *testing.T, key string) *Key {
	t.Helper()
	k, err := Open(t.Context(), c.uri(key), awsauth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// once makes k send each request once, so that a test of errors needn't wait.
func once(k *Key) *Key {
	k.client = kms.New(k.client.Options(), func(o *kms.Options) { o.Retryer = aws.NopRetryer{} })
	return k
}

func TestConformance(t *testing.T) {
	for name, id := range map[string]func(arn string) string{
		"by ARN":   func(arn string) string { return arn },
		"by id":    func(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] },
		"by alias": func(string) string { return "alias/vigil" },
	} {
		t.Run(name, func(t *testing.T) {
			mastertest.Run(t, func(t *testing.T) mastertest.Keys {
				c := newCloud(t)
				return mastertest.Keys{
					Key: c.open(t, id(c.key)), Other: c.open(t, c.kms.CreateKey()),
					Self: c.uri(c.key), Elsewhere: master.URI{Scheme: master.SchemeLocal},
				}
			})
		})
	}
}

// TestOneCallEach: what the user pays for, and waits for, is one request.
func TestOneCallEach(t *testing.T) {
	c := newCloud(t)
	k := c.open(t, c.key)
	if n := len(c.Exchanges()); n != 0 || k.Calls() != (master.Calls{}) {
		t.Fatalf("opening made %d requests and counted %+v", n, k.Calls())
	}
	wrapped, err := k.Generate(t.Context(), mastertest.Share(t), mastertest.Alice)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Decrypt(t.Context(), mastertest.Share(t), wrapped, mastertest.Alice); err != nil {
		t.Fatal(err)
	}
	if got, want := k.Calls(), (master.Calls{Operations: 2, Attempts: 2}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if c.Count("kms:GenerateDataKey") != 1 || c.Count("kms:Decrypt") != 1 || len(c.Exchanges()) != 2 {
		t.Errorf("KMS saw %d requests, want one of each", len(c.Exchanges()))
	}
}

// TestEveryRequestNamesKeyAndContext: IAM policies and CloudTrail depend on it,
// and it is all that KMS learns.
func TestEveryRequestNamesKeyAndContext(t *testing.T) {
	c := newCloud(t)
	k := c.open(t, c.key)
	to := c.kms.CreateKey()
	wrapped, err := k.Generate(t.Context(), mastertest.Share(t), mastertest.Alice)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Decrypt(t.Context(), mastertest.Share(t), wrapped, mastertest.Alice); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rewrap(t.Context(), wrapped, mastertest.Alice, c.uri(to)); err != nil {
		t.Fatal(err)
	}
	const contextJSON = `{"vigil:identity":"BAUGAAAAAAAAAAAAAAAAAA","vigil:purpose":"unlock","vigil:vault":"AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`
	for _, e := range c.Exchanges() {
		body := string(e.Body)
		if !strings.Contains(body, `"`+c.key+`"`) {
			t.Errorf("%s doesn't name the key: %s", e.Action, body)
		}
		if strings.Contains(body, "Plaintext") {
			t.Errorf("%s sends a plaintext", e.Action)
		}
		for _, field := range []string{"vigil:vault", "vigil:identity", "vigil:purpose"} {
			if !strings.Contains(body, `"`+field+`":"`+mastertest.Alice.Fields()[field]+`"`) {
				t.Errorf("%s has no %s of %s: %s", e.Action, field, contextJSON, body)
			}
		}
	}
}

func TestRewrapToAnotherKey(t *testing.T) {
	c := newCloud(t)
	from, to := c.open(t, c.key), c.kms.CreateKey("alias/new")
	share := mastertest.Share(t)
	wrapped, err := from.Generate(t.Context(), share, mastertest.Alice)
	if err != nil {
		t.Fatal(err)
	}
	again, err := from.Rewrap(t.Context(), wrapped, mastertest.Alice, c.uri("alias/new"))
	if err != nil {
		t.Fatal(err)
	}
	got := mastertest.Share(t)
	if err := c.open(t, to).Decrypt(t.Context(), got, again, mastertest.Alice); err != nil || string(got) != string(share) {
		t.Errorf("Decrypt with the new key: %v, share came back: %v", err, string(got) == string(share))
	}
	if err := from.Decrypt(t.Context(), got, again, mastertest.Alice); !errors.Is(err, fault.ErrMisconfigured) {
		t.Errorf("Decrypt with the old key: %v, want %v", err, fault.ErrMisconfigured)
	}
	for _, e := range c.Exchanges() {
		if e.Action == "kms:ReEncryptFrom" && strings.Contains(string(e.Answer), "Plaintext") {
			t.Error("ReEncrypt answered with a plaintext")
		}
	}
	other := c.uri(to)
	other.Region = "us-east-1"
	if _, err := from.Rewrap(t.Context(), wrapped, mastertest.Alice, other); !errors.Is(err, fault.ErrMisconfigured) {
		t.Errorf("Rewrap to another region: %v, want %v", err, fault.ErrMisconfigured)
	}
}

// TestSorted holds every way a call fails to its kind, request id and advice.
func TestSorted(t *testing.T) {
	always := func(f awsfake.Fault) func(cloud) {
		return func(c cloud) { c.SetFault(func(awsfake.Call) awsfake.Fault { return f }) }
	}
	for name, tc := range map[string]struct {
		spoil func(cloud)
		kind  error
		code  string // empty: the service didn't answer
		next  string // the beginning
	}{
		"disabled":           {func(c cloud) { c.kms.SetState(c.key, kmsfake.Disabled) }, fault.ErrRevoked, "DisabledException", "Ask whoever runs the AWS account whether the key was disabled on purpose; vigilctl unlock works again once it is enabled."},
		"pending deletion":   {func(c cloud) { c.kms.SetState(c.key, kmsfake.PendingDeletion) }, fault.ErrRevoked, "KMSInvalidStateException", "Ask whoever runs the AWS account whether the key was disabled on purpose; vigilctl unlock works again once it is enabled."},
		"unavailable":        {func(c cloud) { c.kms.SetState(c.key, kmsfake.Unavailable) }, fault.ErrUnreachable, "KMSInvalidStateException", "Nothing to do: it is tried again."},
		"material deleted":   {func(c cloud) { c.kms.SetState(c.key, kmsfake.PendingImport) }, fault.ErrDenied, "KMSInvalidStateException", "Ask whoever runs the AWS account for access to the key, or check that the right AWS profile is in use."},
		"deleted":            {func(c cloud) { c.kms.Delete(c.key) }, fault.ErrMisconfigured, "NotFoundException", "Check the key id and the region in the master key's URI."},
		"no permission":      {func(c cloud) { c.caller.SetPolicies(denyAll) }, fault.ErrDenied, "AccessDeniedException", "Ask whoever runs the AWS account for access, or check that the right AWS profile is in use."},
		"access key removed": {func(c cloud) { c.Remove(c.caller) }, fault.ErrDenied, "UnrecognizedClientException", "Check the access key of your AWS profile; it may have been deactivated"},
		"session over":       {func(c cloud) { c.caller.Expires = time.Unix(1, 0) }, fault.ErrSignIn, "ExpiredTokenException", "Sign in to AWS again"},
		"throttled": {
			always(awsfake.Fault{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"}), fault.ErrUnreachable, "ThrottlingException", "Nothing to do: it is tried again.",
		},
		"internal error": {always(awsfake.Fault{Status: 500, Code: "KMSInternalException"}), fault.ErrUnreachable, "KMSInternalException", "Nothing to do: it is tried again."},
		"bad gateway":    {always(awsfake.Fault{Status: 502, Code: "BadGateway"}), fault.ErrUnreachable, "BadGateway", "Nothing to do: it is tried again."},
		"no answer":      {always(awsfake.Fault{Drop: true}), fault.ErrUnreachable, "", "Check the network, and that the region is spelled right."},
		"clock far off": {
			always(awsfake.Fault{Status: 400, Code: "InvalidSignatureException", Message: "Signature expired: 20200101T000000Z is now earlier than 20260101T000000Z"}),
			fault.ErrMisconfigured, "InvalidSignatureException", "Set this machine's clock: AWS refuses requests",
		},
		"wrong secret key": {func(c cloud) { c.caller.SecretAccessKey = "another" }, fault.ErrMisconfigured, "InvalidSignatureException", "Check the access key of your AWS profile"},
		"a code of tomorrow": {
			always(awsfake.Fault{Status: 400, Code: "QuantumException", Message: "no"}), fault.ErrMisconfigured, "QuantumException", "Check the key id and the region",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			k := once(c.open(t, c.key))
			wrapped, err := k.Generate(t.Context(), mastertest.Share(t), mastertest.Alice)
			if err != nil {
				t.Fatal(err)
			}
			tc.spoil(c)
			err = k.Decrypt(t.Context(), mastertest.Share(t), wrapped, mastertest.Alice)
			var e *fault.Error
			if !errors.As(err, &e) {
				t.Fatalf("Decrypt: %v, want a *fault.Error", err)
			}
			if e.Kind != tc.kind || e.Code != tc.code {
				t.Errorf("Decrypt: %v (code %q); want %v, code %q", err, e.Code, tc.kind, tc.code)
			}
			if e.Op != "Decrypt" || !strings.HasPrefix(e.Next, tc.next) || (e.RequestID == "") != (tc.code == "") {
				t.Errorf("operation %q, next step %q, request id %q; want next step %q", e.Op, e.Next, e.RequestID, tc.next)
			}
			exchanges := c.Exchanges()
			if last := exchanges[len(exchanges)-1]; e.RequestID != "" && e.RequestID != last.RequestID {
				t.Errorf("request id %q, want the last one, %q", e.RequestID, last.RequestID)
			}
			if (e.Kind == fault.ErrDenied) && e.Caller == "" {
				t.Error("a denied call doesn't say who was denied")
			}
		})
	}
}

// TestSharesThatItCannotUse: shares of another key or vault, damaged ones, and moves that
// KMS can't make, each with its advice.
func TestSharesThatItCannotUse(t *testing.T) {
	const (
		damaged  = "The share was wrapped for another vault or identity, or is damaged; restore the keyring from a version that worked."
		newShare = "Give the identity's passphrase, so that it gets a new share there."
	)
	c := newCloud(t)
	k := c.open(t, c.key)
	wrapped, err := k.Generate(t.Context(), mastertest.Share(t), mastertest.Alice)
	if err != nil {
		t.Fatal(err)
	}
	otherVault := mastertest.Alice
	otherVault.Vault[0]++
	decrypt := func(k *Key, wrapped []byte, of master.Context) error {
		return k.Decrypt(t.Context(), mastertest.Share(t), wrapped, of)
	}
	move := func(to master.URI) error {
		_, err := k.Rewrap(t.Context(), wrapped, mastertest.Alice, to)
		return err
	}
	elsewhere := c.uri(c.key)
	elsewhere.Region = "us-east-1"
	for name, tc := range map[string]struct {
		err  error
		next string
	}{
		"another key":      {decrypt(c.open(t, c.kms.CreateKey()), wrapped, mastertest.Alice), "The share belongs to another key: check the master key's URI; an alias may have been moved."},
		"another vault":    {decrypt(k, wrapped, otherVault), damaged},
		"empty":            {decrypt(k, nil, mastertest.Alice), damaged},
		"too long":         {decrypt(k, make([]byte, master.MaxWrapped+1), mastertest.Alice), damaged},
		"to a device key":  {move(master.URI{Scheme: master.SchemeLocal}), newShare},
		"to other regions": {move(elsewhere), newShare},
	} {
		var e *fault.Error
		if !errors.As(tc.err, &e) || e.Kind != fault.ErrMisconfigured || e.Next != tc.next {
			t.Errorf("%s: %v in %+v, want next %q", name, tc.err, e, tc.next)
		}
	}
}

const denyAll = `{"Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`

func TestDeniedNamesTheCaller(t *testing.T) {
	c := newCloud(t, denyAll)
	_, err := c.open(t, c.key).Generate(t.Context(), mastertest.Share(t), mastertest.Alice)
	var e *fault.Error
	if !errors.As(err, &e) || e.Caller != c.caller.ARN {
		t.Errorf("caller %q of %v, want %q", e.Caller, err, c.caller.ARN)
	}
}

// TestOneThrottledRequestIsRetried and is not the user's affair.
func TestOneThrottledRequestIsRetried(t *testing.T) {
	c := newCloud(t)
	k := c.open(t, c.key)
	first := true
	c.SetFault(func(awsfake.Call) awsfake.Fault {
		if !first {
			return awsfake.Fault{}
		}
		first = false
		return awsfake.Fault{Status: 400, Code: "ThrottlingException"}
	})
	if _, err := k.Generate(t.Context(), mastertest.Share(t), mastertest.Alice); err != nil {
		t.Fatal(err)
	}
	if got, want := k.Calls(), (master.Calls{Operations: 1, Attempts: 2}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// TestClockSkewIsCorrected: the SDK signs again with the time of the answer.
func TestClockSkewIsCorrected(t *testing.T) {
	c := newCloud(t)
	c.SetClock(func() time.Time { return time.Now().Add(3 * time.Hour) })
	if _, err := c.open(t, c.key).Generate(t.Context(), mastertest.Share(t), mastertest.Alice); err != nil {
		t.Error(err)
	}
}

func TestSlowAnswerEndsWithTheContext(t *testing.T) {
	c := newCloud(t)
	c.SetFault(func(awsfake.Call) awsfake.Fault { return awsfake.Fault{Delay: time.Minute} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.open(t, c.key).Generate(ctx, mastertest.Share(t), mastertest.Alice)
	if !errors.Is(err, fault.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Generate: %v, want %v by the deadline", err, fault.ErrUnreachable)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(cloud) (key string)
		kind  error
		next  string
	}{
		"disabled":         {func(c cloud) string { c.kms.SetState(c.key, kmsfake.Disabled); return c.key }, fault.ErrRevoked, "Ask whoever runs the AWS account whether the key was disabled on purpose; vigilctl unlock works again once it is enabled."},
		"pending deletion": {func(c cloud) string { c.kms.SetState(c.key, kmsfake.PendingDeletion); return c.key }, fault.ErrRevoked, "Ask whoever runs the AWS account whether the key was disabled on purpose; vigilctl unlock works again once it is enabled."},
		"pending import":   {func(c cloud) string { c.kms.SetState(c.key, kmsfake.PendingImport); return c.key }, fault.ErrMisconfigured, "Import the key's material, or use another key."},
		"unavailable":      {func(c cloud) string { c.kms.SetState(c.key, kmsfake.Unavailable); return c.key }, fault.ErrUnreachable, "Nothing to do: it is tried again."},
		"a signing key":    {func(c cloud) string { return c.kms.CreateSigningKey() }, fault.ErrMisconfigured, "Use a symmetric key for encryption (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)."},
		"no such alias":    {func(cloud) string { return "alias/vigl" }, fault.ErrMisconfigured, "Check the key id and the region in the master key's URI."},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			_, err := c.open(t, tc.spoil(c)).Check(t.Context())
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != tc.kind || e.Next != tc.next {
				t.Errorf("Check: %v, next %q; want %v, next %q", err, e.Next, tc.kind, tc.next)
			}
		})
	}
}

// TestAnswersThatNoKMSGives: whatever sits at the endpoint, no share comes of it.
func TestAnswersThatNoKMSGives(t *testing.T) {
	const notKMS = "Check the endpoint: what answered there doesn't behave as AWS KMS."
	for name, answer := range map[string]struct {
		status int
		body   string
		kind   error
		next   string
	}{
		"a short share":    {200, `{"CiphertextBlob":"AAAA","KeyId":"k","Plaintext":"AAAA"}`, fault.ErrMisconfigured, notKMS},
		"a long share":     {200, fmt.Sprintf(`{"CiphertextBlob":"AAAA","KeyId":"k","Plaintext":"%s"}`, strings.Repeat("A", 64)), fault.ErrMisconfigured, notKMS},
		"no share":         {200, `{"CiphertextBlob":"AAAA","KeyId":"k"}`, fault.ErrMisconfigured, notKMS},
		"no ciphertext":    {200, `{"KeyId":"k","Plaintext":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`, fault.ErrMisconfigured, notKMS},
		"a login page":     {200, `<html>Welcome to our hotel</html>`, fault.ErrUnreachable, "Something else answered in the service's place; check for a proxy or a login page on this network."},
		"a login redirect": {403, `<html>Please log in</html>`, fault.ErrDenied, awsauth.NextAccess},
	} {
		t.Run(name, func(t *testing.T) {
			awsfake.New().AddUser("alice").Setenv(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/x-amz-json-1.1")
				w.WriteHeader(answer.status)
				_, _ = w.Write([]byte(answer.body))
			}))
			defer server.Close()
			k, err := Open(t.Context(), master.URI{Scheme: master.SchemeAWSKMS, KeyID: "k", Endpoint: server.URL}, awsauth.Options{})
			if err != nil {
				t.Fatal(err)
			}
			dst := mastertest.Share(t)
			var e *fault.Error
			if _, err := once(k).Generate(t.Context(), dst, mastertest.Alice); !errors.Is(err, answer.kind) || !errors.As(err, &e) || e.Next != answer.next {
				t.Errorf("Generate: %v in %+v, want %v, next %q", err, e, answer.kind, answer.next)
			}
			if string(dst) != string(make([]byte, len(dst))) {
				t.Error("something is left in dst")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	awsfake.New().AddUser("alice").Setenv(t)
	refuses := func(name string, uri master.URI, next string) {
		_, err := Open(t.Context(), uri, awsauth.Options{})
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.ErrMisconfigured || e.Next != next {
			t.Errorf("%s: %v; want %v, next %q", name, err, fault.ErrMisconfigured, next)
		}
	}
	refuses("another scheme", master.URI{Scheme: master.SchemeLocal}, "Give awskms:///KEY.")
	refuses("no key", master.URI{Scheme: master.SchemeAWSKMS}, "Give awskms:///KEY.")
	if _, err := Open(t.Context(), master.URI{Scheme: master.SchemeAWSKMS}, awsauth.Options{}); !strings.Contains(err.Error(), "names no key of AWS KMS") {
		t.Error(err)
	}
	refuses("http over the network", master.URI{Scheme: master.SchemeAWSKMS, KeyID: "k", Endpoint: "http://kms.example"}, "Correct the endpoint of the master key's URI.")
	refuses("unknown profile", master.URI{Scheme: master.SchemeAWSKMS, KeyID: "k", Profile: "nobody"}, "Check the AWS profile and region in the AWS configuration files.")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	refuses("no region", master.URI{Scheme: master.SchemeAWSKMS, KeyID: "k"}, "Add ?region=… to the master key's URI.")
}

// TestNothingLeavesInClear: an endpoint from the environment is held to the
// same rule as one from the URI.
func TestNothingLeavesInClear(t *testing.T) {
	c := newCloud(t)
	t.Setenv("AWS_ENDPOINT_URL_KMS", strings.Replace(c.url, "127.0.0.1", "kms.invalid", 1))
	k, err := Open(t.Context(), master.URI{Scheme: master.SchemeAWSKMS, KeyID: c.key}, awsauth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Generate(t.Context(), mastertest.Share(t), mastertest.Alice)
	if !errors.Is(err, fault.ErrMisconfigured) || !strings.Contains(err.Error(), "in clear") {
		t.Errorf("Generate: %v, want a refusal to send in clear", err)
	}
	var network *url.Error
	if errors.As(err, &network) {
		t.Errorf("it was tried: %v", err)
	}
}
