package s3

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"vigil/internal/awsauth"
	"vigil/internal/backend"
	"vigil/internal/fault"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/backendtest"
	"vigil/internal/testing/s3fake"
)

const bucket = "team-keys"

// cloud is an emulated S3 with one bucket, and a caller whose credentials are
// in the environment.
type cloud struct {
	*awsfake.Cloud
	s3     *s3fake.Server
	caller *awsfake.Caller
	uri    backend.URI
}

func newCloud(t *testing.T) cloud {
	t.Helper()
	c := cloud{Cloud: awsfake.New()}
	c.s3 = s3fake.New(c.Cloud, bucket)
	c.caller = c.AddUser("alice")
	server := httptest.NewServer(c.s3)
	t.Cleanup(server.Close)
	c.uri = backend.URI{Scheme: backend.SchemeS3, Bucket: bucket, Prefix: "vigil/a team", Endpoint: server.URL}
	c.caller.Setenv(t)
	return c
}

func open(t *testing.T, uri backend.URI) *Store {
	t.Helper()
	s, err := Open(t.Context(), uri, awsauth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// once makes s send each request once, so that a test of errors needn't wait.
func once(s *Store) *Store {
	s.client = awss3.New(s.client.Options(), func(o *awss3.Options) { o.Retryer = aws.NopRetryer{} })
	return s
}

func TestConformance(t *testing.T) {
	var c cloud
	backendtest.Run(t, func(t *testing.T) backend.Store {
		c = newCloud(t)
		return open(t, c.uri)
	}, func(t *testing.T) backend.Store { return open(t, c.uri) })
}

// TestUnchangedCostsOneSmallRequest: a refresh that finds nothing new.
func TestUnchangedCostsOneSmallRequest(t *testing.T) {
	c := newCloud(t)
	s := open(t, c.uri)
	v, err := s.Put(t.Context(), backend.Deks, bytes.Repeat([]byte("x"), 1<<20), "")
	if err != nil {
		t.Fatal(err)
	}
	c.Forget()
	if _, _, err := s.Get(t.Context(), backend.Deks, v); !errors.Is(err, fault.ErrNotModified) {
		t.Fatalf("Get: %v, want %v", err, fault.ErrNotModified)
	}
	if e := c.Exchanges(); len(e) != 1 || e[0].Status != http.StatusNotModified || len(e[0].Answer) != 0 {
		t.Errorf("%d requests, want one answered with 304 and no body", len(e))
	}
}

// TestLostAnswer: a write that was carried out, but whose answer got lost, is
// sent again and then meets its own result.
func TestLostAnswer(t *testing.T) {
	for _, expect := range []string{"create", "replace"} {
		t.Run(expect, func(t *testing.T) {
			c := newCloud(t)
			s := open(t, c.uri)
			var v backend.Version
			if expect == "replace" {
				var err error
				if v, err = s.Put(t.Context(), backend.Deks, []byte("before"), ""); err != nil {
					t.Fatal(err)
				}
			}
			lost := false
			c.SetFault(func(call awsfake.Call) awsfake.Fault {
				drop := call.Action == "s3:PutObject" && !lost
				lost = lost || drop
				return awsfake.Fault{Drop: drop, After: true}
			})
			v, err := s.Put(t.Context(), backend.Deks, []byte("mine"), v)
			if err != nil {
				t.Fatalf("Put: %v", err)
			}
			if _, err := s.Put(t.Context(), backend.Deks, []byte("next"), v); err != nil {
				t.Errorf("Put with the version that came back: %v", err)
			}
		})
	}
}

// TestLostAnswerToALoser: the same, when another writer really was first.
func TestLostAnswerToALoser(t *testing.T) {
	c := newCloud(t)
	s := open(t, c.uri)
	first := true
	c.SetFault(func(awsfake.Call) awsfake.Fault {
		if first {
			first = false
			c.s3.SetObject(c.uri.Key(backend.Deks), []byte("theirs"))
			return awsfake.Fault{Drop: true}
		}
		return awsfake.Fault{}
	})
	if _, err := s.Put(t.Context(), backend.Deks, []byte("mine"), ""); !errors.Is(err, fault.ErrConflict) {
		t.Errorf("Put: %v, want %v", err, fault.ErrConflict)
	}
	if got := c.s3.Object(c.uri.Key(backend.Deks)); string(got) != "theirs" {
		t.Errorf("the object is %q", got)
	}
}

func TestSorted(t *testing.T) {
	always := func(f awsfake.Fault) func(cloud) {
		return func(c cloud) { c.SetFault(func(awsfake.Call) awsfake.Fault { return f }) }
	}
	for name, tc := range map[string]struct {
		spoil func(cloud)
		kind  error
		code  string
		next  string // the beginning
	}{
		"no permission": {func(c cloud) {
			c.caller.SetPolicies(`{"Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`)
		}, fault.ErrDenied, "AccessDenied", "Ask whoever runs the bucket for s3:GetObject, s3:PutObject and s3:ListBucket on it"},
		"access key removed": {func(c cloud) { c.Remove(c.caller) }, fault.ErrDenied, "InvalidAccessKeyId", "Check the access key of your AWS profile; it may have been deactivated"},
		"session over":       {func(c cloud) { c.caller.Expires = time.Unix(1, 0) }, fault.ErrSignIn, "ExpiredToken", "Sign in to AWS again"},
		"wrong secret key":   {func(c cloud) { c.caller.SecretAccessKey = "another" }, fault.ErrMisconfigured, "SignatureDoesNotMatch", "Check the access key of your AWS profile"},
		"no bucket":          {always(awsfake.Fault{Status: 404, Code: "NoSuchBucket", Message: "no"}), fault.ErrMisconfigured, "NoSuchBucket", "Check the bucket's name in the backend's URI, or make the bucket."},
		"another region":     {always(awsfake.Fault{Status: 301, Code: "PermanentRedirect", Message: "no"}), fault.ErrMisconfigured, "PermanentRedirect", "Add the bucket's region to the backend's URI"},
		"slow down":          {always(awsfake.Fault{Status: 503, Code: "SlowDown", Message: "no"}), fault.ErrUnreachable, "SlowDown", "Nothing to do: it is tried again."},
		"clock far off":      {always(awsfake.Fault{Status: 403, Code: "RequestTimeTooSkewed", Message: "no"}), fault.ErrMisconfigured, "RequestTimeTooSkewed", "Set this machine's clock: AWS refuses requests"},
		"internal error":     {always(awsfake.Fault{Status: 500, Code: "InternalError"}), fault.ErrUnreachable, "InternalError", "Nothing to do: it is tried again."},
		"not implemented":    {always(awsfake.Fault{Status: 400, Code: "NotImplemented", Message: "no"}), fault.ErrMisconfigured, "NotImplemented", "Use a store with conditional writes: without them devices overwrite each other's changes."},
		"a code of tomorrow": {always(awsfake.Fault{Status: 400, Code: "QuantumError", Message: "no"}), fault.ErrMisconfigured, "QuantumError", "Check the bucket, the region and the endpoint of the backend's URI."},
		"no answer":          {always(awsfake.Fault{Drop: true}), fault.ErrUnreachable, "", "Check the network, and that the region is spelled right."},
		"two at once":        {always(awsfake.Fault{Status: 409, Code: "ConditionalRequestConflict", Message: "no"}), fault.ErrConflict, "ConditionalRequestConflict", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			tc.spoil(c)
			_, err := once(open(t, c.uri)).Put(t.Context(), backend.Deks, []byte("x"), "")
			var e *fault.Error
			if !errors.As(err, &e) {
				t.Fatalf("Put: %v, want a *fault.Error", err)
			}
			if e.Kind != tc.kind || e.Code != tc.code {
				t.Errorf("Put: %v (code %q); want %v, code %q", err, e.Code, tc.kind, tc.code)
			}
			if (e.RequestID == "") != (tc.code == "") || !strings.HasPrefix(e.Next, tc.next) || (e.Next == "") != (tc.next == "") {
				t.Errorf("request id %q, next step %q, want %q", e.RequestID, e.Next, tc.next)
			}
		})
	}
}

// TestWithoutListBucket: S3 hides from who may not list that an object doesn't
// exist, and the advice says so.
func TestWithoutListBucket(t *testing.T) {
	c := newCloud(t)
	c.caller.SetPolicies(`{"Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"*"}]}`)
	_, _, err := open(t, c.uri).Get(t.Context(), backend.Deks, "")
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.ErrDenied || !strings.Contains(e.Next, "s3:ListBucket") {
		t.Errorf("Get: %v, want %v that mentions s3:ListBucket", err, fault.ErrDenied)
	}
}

func TestProbeFindsAStoreWithoutCompareAndSwap(t *testing.T) {
	c := newCloud(t)
	c.s3.IgnoreConditions = true
	err := open(t, c.uri).Probe(t.Context())
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.ErrMisconfigured || e.Next != "Use a store with conditional writes: without them devices overwrite each other's changes." {
		t.Errorf("Probe: %v, want %v that says what to do", err, fault.ErrMisconfigured)
	}
}

func TestRetention(t *testing.T) {
	const (
		ends   = `<Rule><ID>a</ID><Status>Enabled</Status><Filter><Prefix>vigil/</Prefix></Filter><NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>`
		off    = `<Rule><ID>b</ID><Status>Disabled</Status><Filter></Filter><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>`
		others = `<Rule><ID>c</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>`
		tagged = `<Rule><ID>d</ID><Status>Enabled</Status><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>`
	)
	for name, tc := range map[string]struct {
		versioning, lifecycle, policy string
		want                          backend.Retention
		forever                       bool
	}{
		"no versions":                   {want: backend.Retention{}},
		"versions for ever":             {versioning: "Enabled", want: backend.Retention{Versioned: true}, forever: true},
		"suspended":                     {versioning: "Suspended", want: backend.Retention{Versioned: true}, forever: true},
		"versions with an end":          {versioning: "Enabled", lifecycle: others + ends + off, want: backend.Retention{Versioned: true, Days: 30, Generations: 2}},
		"an end for others only":        {versioning: "Enabled", lifecycle: others + off + tagged, want: backend.Retention{Versioned: true}, forever: true},
		"not allowed to see":            {versioning: "Enabled", policy: "s3:GetObject", want: backend.Retention{Unknown: "this caller may not see the bucket's versioning (s3:GetBucketVersioning)"}},
		"not allowed to see lifecycles": {versioning: "Enabled", policy: "s3:GetBucketVersioning", want: backend.Retention{Versioned: true, Unknown: "this caller may not see the bucket's lifecycle rules (s3:GetLifecycleConfiguration)"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			c.s3.Versioning, c.s3.Lifecycle = tc.versioning, tc.lifecycle
			if tc.policy != "" {
				c.caller.SetPolicies(`{"Statement":[{"Effect":"Allow","Action":"` + tc.policy + `","Resource":"*"}]}`)
			}
			got, err := open(t, c.uri).Retention(t.Context())
			if err != nil || got != tc.want || got.Forever() != tc.forever {
				t.Errorf("Retention = %+v (for ever: %v), %v; want %+v", got, got.Forever(), err, tc.want)
			}
		})
	}
}

// strong is what to do about an ETag that names no version.
const strong = "Use a store, or a proxy in front of it, that answers with strong ETags."

// TestAnswersThatNoS3Gives: what such a store would do to versions is refused.
func TestAnswersThatNoS3Gives(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter)
		kind   error
		next   string
	}{
		"no ETag":   {func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) }, fault.ErrMisconfigured, strong},
		"weak ETag": {func(w http.ResponseWriter) { w.Header().Set("ETag", `W/"1"`); _, _ = w.Write([]byte("x")) }, fault.ErrMisconfigured, strong},
		"cut short": {func(w http.ResponseWriter) {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("x"))
		}, fault.ErrUnreachable, "Nothing to do: it is tried again."},
		"beyond the limit": {func(w http.ResponseWriter) {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Length", "99999999999")
			_, _ = w.Write([]byte("x"))
		}, fault.ErrTooLarge, ""},
		"a login page": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte("<html>hello</html>"))
		}, fault.ErrMisconfigured, "Check the bucket, the region and the endpoint of the backend's URI."},
	} {
		t.Run(name, func(t *testing.T) {
			awsfake.New().AddUser("alice").Setenv(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tc.answer(w) }))
			defer server.Close()
			s := once(open(t, backend.URI{Scheme: backend.SchemeS3, Bucket: bucket, Endpoint: server.URL}))
			data, _, err := s.Get(t.Context(), backend.Deks, "")
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != tc.kind || e.Next != tc.next || data != nil {
				t.Errorf("Get = %q, %v; want %v, next %q, and no data", data, err, tc.kind, tc.next)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	awsfake.New().AddUser("alice").Setenv(t)
	refuses := func(name string, uri backend.URI, next string) {
		_, err := Open(t.Context(), uri, awsauth.Options{})
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.ErrMisconfigured || e.Next != next {
			t.Errorf("%s: %v; want %v, next %q", name, err, fault.ErrMisconfigured, next)
		}
	}
	refuses("another scheme", backend.URI{Scheme: backend.SchemeFile}, "Give s3://BUCKET/PREFIX.")
	refuses("no bucket", backend.URI{Scheme: backend.SchemeS3}, "Give s3://BUCKET/PREFIX.")
	if _, err := Open(t.Context(), backend.URI{Scheme: backend.SchemeS3}, awsauth.Options{}); !strings.Contains(err.Error(), "names no bucket") {
		t.Error(err)
	}
	refuses("http over the network", backend.URI{Scheme: backend.SchemeS3, Bucket: bucket, Endpoint: "http://minio.example"}, "Correct the endpoint of the backend's URI.")
	refuses("unknown profile", backend.URI{Scheme: backend.SchemeS3, Bucket: bucket, Profile: "nobody"}, "Check the AWS profile and region in the AWS configuration files.")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	refuses("no region", backend.URI{Scheme: backend.SchemeS3, Bucket: bucket}, "Add ?region=… to the backend's URI.")
}
