// Package awsfake is shared by this repository's emulators of AWS services (kmsfake,
// s3fake): callers and their signatures, policies, injected faults, and a record of
// the traffic. It is for tests only.
package awsfake

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Account and Region are those of the emulated services.
const (
	Account = "111122223333"
	Region  = "eu-central-1"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 80 << 20

// Caller is an IAM identity with one access key.
type Caller struct {
	ARN             string
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string    // empty for a long-lived key
	Expires         time.Time // zero for a long-lived key

	policies []Policy // nil: everything is allowed
}

// Env returns an environment that makes AWS clients use this caller and ignore the
// machine's files and services.
func (c *Caller) Env() []string {
	env := []string{
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey,
		"AWS_REGION=" + Region,
		"AWS_DEFAULT_REGION=" + Region,
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_EC2_METADATA_DISABLED=true",
	}
	if c.SessionToken != "" {
		env = append(env, "AWS_SESSION_TOKEN="+c.SessionToken)
	}
	return env
}

// Call is what a request asks for, for policies and faults.
type Call struct {
	Action   string              // "kms:Decrypt"
	Resource string              // ARN
	Context  map[string][]string // condition keys, such as kms:EncryptionContext:vigil:vault
}

// Exchange is a recorded request and its answer.
type Exchange struct {
	Time      time.Time
	Method    string
	URL       string // path and query
	Header    http.Header
	Body      []byte // of the request
	Caller    string // ARN; empty if the signature was refused
	Action    string
	Status    int // 0: no answer was sent
	RequestID string
	Answer    []byte // body of the answer, sent or lost
}

// Fault is what goes wrong with one request. The zero value is no fault.
type Fault struct {
	Delay   time.Duration // first of all, or until the client leaves
	Drop    bool          // close the connection without an answer
	After   bool          // with Drop: only after carrying out the request
	Status  int           // with Code: answer with this error
	Code    string
	Message string
}

// Cloud is the account that emulated services share; create it with New. It is safe
// for concurrent use.
type Cloud struct {
	mu        sync.Mutex
	callers   map[string]*Caller // by access key id
	fault     func(Call) Fault
	clock     func() time.Time
	exchanges []Exchange
}

// New returns an account without callers.
func New() *Cloud {
	return &Cloud{callers: map[string]*Caller{}, clock: time.Now}
}

// AddUser creates an IAM user with an access key and policies, which are JSON
// documents. Without policies, it may do everything. It panics on an invalid policy.
func (c *Cloud) AddUser(name string, policies ...string) *Caller {
	caller := &Caller{
		ARN:         "arn:aws:iam::" + Account + ":user/" + name,
		AccessKeyID: "AKIA" + randomHex(8), SecretAccessKey: randomHex(20),
	}
	caller.SetPolicies(policies...)
	c.add(caller)
	return caller
}

// AddSession creates temporary credentials of an assumed role, valid for the given time.
func (c *Cloud) AddSession(role, session string, valid time.Duration, policies ...string) *Caller {
	caller := &Caller{
		ARN:         "arn:aws:sts::" + Account + ":assumed-role/" + role + "/" + session,
		AccessKeyID: "ASIA" + randomHex(8), SecretAccessKey: randomHex(20), SessionToken: randomHex(40),
		Expires: c.now().Add(valid),
	}
	caller.SetPolicies(policies...)
	c.add(caller)
	return caller
}

func (c *Cloud) add(caller *Caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callers[caller.AccessKeyID] = caller
}

// Remove deactivates a caller's access key.
func (c *Cloud) Remove(caller *Caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.callers, caller.AccessKeyID)
}

// Setenv makes a test's AWS clients use this caller.
func (c *Caller) Setenv(t testing.TB) {
	t.Helper()
	for _, setting := range c.Env() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
}

// SetPolicies replaces a caller's policies. It must not be called while requests are
// served.
func (c *Caller) SetPolicies(policies ...string) {
	c.policies = nil
	for _, text := range policies {
		p, err := ParsePolicy(text)
		if err != nil {
			panic(err)
		}
		c.policies = append(c.policies, p)
	}
}

// SetFault makes f choose each request's fault; nil: none.
func (c *Cloud) SetFault(f func(Call) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

// SetClock sets the services' clock; nil: the real time.
func (c *Cloud) SetClock(now func() time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = time.Now
	if now != nil {
		c.clock = now
	}
}

// Now returns the services' time.
func (c *Cloud) Now() time.Time { return c.now() }

func (c *Cloud) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock()
}

// Exchanges returns the exchanges recorded since the last Forget.
func (c *Cloud) Exchanges() []Exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Exchange(nil), c.exchanges...)
}

// Forget clears the record.
func (c *Cloud) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchanges = nil
}

// Count returns the number of recorded requests for an action.
func (c *Cloud) Count(action string) int {
	n := 0
	for _, e := range c.Exchanges() {
		if e.Action == action {
			n++
		}
	}
	return n
}

// Refusal is a service's error answer.
type Refusal struct {
	Status  int
	Code    string
	Message string
}

// Error returns code and message.
func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// Service is one emulated service on a Cloud.
type Service struct {
	Cloud *Cloud
	Name  string // as in the credential scope: "kms", "s3", "sts"
	// Classify returns what a request asks for, or a *Refusal for an invalid request.
	Classify func(r *http.Request, body []byte) (Call, error)
	// Answer carries out a request whose signature is valid and that policies allow.
	Answer func(w http.ResponseWriter, r *http.Request, call Call, caller *Caller, body []byte)
	// Refuse writes an error answer.
	Refuse     func(w http.ResponseWriter, r *http.Request, requestID string, refusal *Refusal)
	DeniedCode string // the service's error code for a refusal by policy
	IDHeader   string // the header with the request id
}

// ServeHTTP checks, records and answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the client is gone
	}
	e := Exchange{
		Time: s.Cloud.now(), Method: r.Method, URL: r.URL.RequestURI(), Header: r.Header.Clone(),
		Body: body, RequestID: newRequestID(),
	}
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	answer.header.Set("Date", e.Time.UTC().Format(http.TimeFormat))
	answer.header.Set(s.IDHeader, e.RequestID)
	drop := s.serve(answer, r, body, &e)
	if e.Status, e.Answer = answer.status, answer.body.Bytes(); drop {
		e.Status = 0
	}
	s.Cloud.mu.Lock()
	s.Cloud.exchanges = append(s.Cloud.exchanges, e)
	s.Cloud.mu.Unlock()
	if drop {
		panic(http.ErrAbortHandler)
	}
	answer.flush(w)
}

// serve writes the answer and fills in e. It reports whether to drop the answer.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, body []byte, e *Exchange) (drop bool) {
	refuse := func(err error) {
		refusal, ok := err.(*Refusal)
		if !ok {
			refusal = &Refusal{http.StatusInternalServerError, "InternalFailure", err.Error()}
		}
		s.Refuse(w, r, e.RequestID, refusal)
	}
	call, err := s.Classify(r, body)
	if err != nil {
		refuse(err)
		return false
	}
	e.Action = call.Action
	fault := s.Cloud.faultFor(call)
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return true
		}
	}
	if fault.Drop && !fault.After {
		return true
	}
	if fault.Code != "" {
		refuse(&Refusal{fault.Status, fault.Code, fault.Message})
		return false
	}
	caller, err := s.Cloud.verify(r, body, s.Name, e.Time)
	if err != nil {
		refuse(err)
		return false
	}
	e.Caller = caller.ARN
	if err := caller.Check(call, s.DeniedCode, http.StatusForbidden); err != nil {
		refuse(err)
		return false
	}
	s.Answer(w, r, call, caller, body)
	return fault.Drop
}

func (c *Cloud) faultFor(call Call) Fault {
	c.mu.Lock()
	f := c.fault
	c.mu.Unlock()
	if f == nil {
		return Fault{}
	}
	return f(call)
}

// recorder buffers an answer until it is recorded.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *recorder) flush(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes())
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return hex.EncodeToString(b)
}

// NewUUID returns a random id in the form of a UUID.
func NewUUID() string {
	s := randomHex(16)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func newRequestID() string { return NewUUID() }
