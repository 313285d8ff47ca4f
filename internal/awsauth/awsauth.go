// Package awsauth signs in to AWS as the AWS command line does, and classifies
// errors. master/awskms and backend/s3 use it.
//
// Credentials come from the SDK's default chain: environment, profiles, SSO,
// assumed roles with or without MFA, processes, web identity, containers. The
// instance metadata service is used only if the configuration says so: a
// workstation has none, and whatever answers at its address is not Amazon's.
//
// Only vigil-opener links this package.
package awsauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go/middleware"
)

const (
	// maxAttempts is the most times a request is sent.
	maxAttempts = 4

	// The wait before the second attempt is drawn at random from 0 to
	// firstBackoff, and that limit doubles with every attempt, up to maxBackoff.
	// (The SDK's own starts at a second, which a person at a prompt notices.)
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 2 * time.Second

	// answerTimeout limits the wait for the first byte of an answer. KMS and
	// S3 answer within tens of milliseconds.
	answerTimeout = 5 * time.Second

	// signInTimeout limits the wait for credentials: a few requests, or a person
	// looking for the phone with the MFA code.
	signInTimeout = 2 * time.Minute

	// sessionName names assumed-role sessions whose profile gives no name. It is
	// constant so that the caller's ARN is, too: the SDK's default has a time.
	sessionName = "vigil"
)

// Options configures how to sign in.
type Options struct {
	Profile string // profile of the AWS configuration files; empty: the SDK's choice
	Region  string // empty: the profile's
	IMDS    bool   // ask the instance metadata service, too

	// MFA asks a person for the code of a device. If it is nil, as in background
	// work, nobody can be asked, and only a kept session avoids the question.
	MFA func(ctx context.Context) (code string, err error)
	// Sessions keeps sessions that cost an MFA code; nil keeps none.
	Sessions Sessions
}

// Of returns the options overridden by a URI: by its profile and region if they
// aren't empty, and with the metadata service if metadata is set.
func (o Options) Of(profile, region string, metadata bool) Options {
	o.Profile, o.Region = cmp.Or(profile, o.Profile), cmp.Or(region, o.Region)
	o.IMDS = o.IMDS || metadata
	return o
}

// Account is a configured caller. It is safe for concurrent use.
type Account struct {
	// Config is for the service clients' NewFromConfig.
	Config aws.Config

	kept  *keptSession // nil if sessions aren't kept
	clock *clock
}

// Load reads the AWS configuration. It opens no connection. ctx must live as long
// as the Account: when it ends, so does a question for an MFA code. Errors are
// *Fault.
func Load(ctx context.Context, o Options) (*Account, error) {
	mfa := &mfaPrompt{ctx: ctx, ask: o.MFA}
	seen := &clock{}
	metadata := imds.ClientDisabled
	if o.IMDS {
		metadata = imds.ClientEnabled
	}
	options := []func(*config.LoadOptions) error{
		config.WithEC2IMDSClientEnableState(metadata),
		config.WithHTTPClient(httpClient()),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(s *retry.StandardOptions) {
				s.MaxAttempts, s.Backoff = maxAttempts, retry.BackoffDelayerFunc(backoff)
			})
		}),
		config.WithAPIOptions([]func(*middleware.Stack) error{onlyEncrypted, seen.read, boundAnswers}),
		config.WithAssumeRoleCredentialOptions(func(a *stscreds.AssumeRoleOptions) {
			a.TokenProvider = mfa.code
			if a.RoleSessionName == "" {
				a.RoleSessionName = sessionName
			}
		}),
	}
	if o.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, sortConfig(err)
	}
	if cfg.Credentials == nil {
		return nil, sortSignIn(errors.New("no AWS credentials are configured"))
	}
	a := &Account{Config: cfg, clock: seen}
	if name, ok := mfaSession(cfg, o.Profile); ok && o.Sessions != nil {
		a.kept = &keptSession{name: name, sessions: o.Sessions, fresh: cfg.Credentials}
		a.Config.Credentials = aws.NewCredentialsCache(a.kept)
	}
	return a, nil
}

// Refused records that a service refused credentials that should still be valid:
// the next SignIn gets fresh ones instead of kept ones.
func (a *Account) Refused() {
	if a.kept != nil {
		a.kept.forget()
	}
	if cache, ok := a.Config.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// SignIn gets credentials, unless there are valid ones. Called before a request, it
// keeps the time that a person takes to type an MFA code out of the request's
// deadline, and distinguishes a failed sign-in from a failed request. Errors are
// *Fault.
func (a *Account) SignIn(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	credentials, err := a.Config.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, sortSignIn(err)
	}
	return credentials, nil
}

// backoff returns the wait after a number of failed attempts, from 1.
func backoff(attempt int, _ error) (time.Duration, error) {
	limit := firstBackoff << min(max(attempt-1, 0), maxAttempts)
	return rand.N(min(limit, maxBackoff)), nil
}

// httpClient returns a client with limits that the SDK's client lacks.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = answerTimeout
		t.TLSHandshakeTimeout = answerTimeout
		t.MaxResponseHeaderBytes = maxHeaders
		t.DisableCompression = true // so that the bytes counted are the bytes read
	})
}

// Sessions keeps short-lived credentials between two runs of the opener. The data
// is secret; the implementation seals it, and forgets it when it has expired. Both
// methods may be called from another goroutine.
type Sessions interface {
	// Load returns the session that Save kept last under name, or nil. The
	// caller wipes it.
	Load(name string) ([]byte, error)
	// Save keeps a session until it expires, in place of the kept one; an empty
	// session means none. Save doesn't keep a reference to the slice.
	Save(name string, session []byte, expires time.Time) error
}

// errNoMFA reports that a code is needed and nobody can be asked.
var errNoMFA = errors.New("an MFA code is needed and nobody is there to type it")

// mfaPrompt adapts Options.MFA to the SDK's callback, which has no context.
type mfaPrompt struct {
	ctx context.Context
	ask func(context.Context) (string, error)
}

func (m *mfaPrompt) code() (string, error) {
	if m.ask == nil {
		return "", errNoMFA
	}
	code, err := m.ask(m.ctx)
	if err != nil {
		return "", fmt.Errorf("ask for the MFA code: %w", err)
	}
	return code, nil
}
