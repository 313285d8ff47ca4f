// Package s3 keeps a keyring in a bucket of Amazon S3, or of a store that
// speaks its protocol with conditional writes (If-Match, If-None-Match).
//
// An object's version is its ETag. The bucket is trusted only to keep what it has
// acknowledged: see package backend. Versioning in the bucket is a backup and,
// since old versions hold the DEKs of removed items, a liability: expire them with
// a lifecycle rule (Retention reports whether there is one).
//
// Only vigil-opener links this package.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"vigil/internal/awsauth"
	"vigil/internal/backend"
	"vigil/internal/fault"
)

const (
	// callTimeout limits one operation with all its attempts: it allows for a
	// keyring of some MiB over a slow line.
	callTimeout = time.Minute

	// anyRegion is the region for stores that are identified by their endpoint.
	anyRegion = "us-east-1"

	contentType = "application/jsonl"
)

// Store is a keyring under a prefix of a bucket. It is safe for concurrent use
// and needs no closing.
type Store struct {
	uri     backend.URI
	account *awsauth.Account
	client  *awss3.Client
}

var _ backend.Store = (*Store)(nil)

// Open reads the AWS configuration for the bucket that uri names. It makes no
// request. The URI's profile, region and imds take precedence over those of o.
// An error is a *fault.Error.
func Open(ctx context.Context, uri backend.URI, o awsauth.Options) (*Store, error) {
	const op = "open"
	if uri.Scheme != backend.SchemeS3 || uri.Bucket == "" {
		return nil, misconfigured(op, "", fmt.Errorf("%q names no bucket", uri), "Give s3://BUCKET/PREFIX.")
	}
	if uri.Endpoint != "" {
		if err := awsauth.CheckEndpoint(uri.Endpoint); err != nil {
			return nil, misconfigured(op, "", err, "Correct the endpoint of the backend's URI.")
		}
	}
	account, err := awsauth.Load(ctx, o.Of(uri.Profile, uri.Region, uri.IMDS))
	if err != nil {
		return nil, sorted(op, "", err, "")
	}
	if account.Config.Region == "" && uri.Endpoint != "" {
		account.Config.Region = anyRegion
	}
	if account.Config.Region == "" {
		return nil, misconfigured(op, "", errors.New("no AWS region"), "Add ?region=… to the backend's URI.")
	}
	client := awss3.NewFromConfig(account.Config, func(o *awss3.Options) {
		// The certificate of *.s3.amazonaws.com doesn't match a name with dots.
		o.UsePathStyle = uri.Endpoint != "" || strings.Contains(uri.Bucket, ".")
		if uri.Endpoint != "" {
			o.BaseEndpoint = aws.String(uri.Endpoint)
			// Trailing checksums are newer than many compatible stores.
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})
	return &Store{uri: uri, account: account, client: client}, nil
}

// Skew returns how far the store's clock is ahead of this machine's, according
// to its last answer.
func (s *Store) Skew() (ahead time.Duration, ok bool) { return s.account.Skew() }

// do makes one request: credentials, then deadline, then the call.
func (s *Store) do(ctx context.Context, op string, object backend.Object, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return sorted(op, object, err, "")
	}
	credentials, err := s.account.SignIn(ctx)
	if err != nil {
		return sorted(op, object, err, "")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := call(ctx); err != nil {
		err = sorted(op, object, err, credentials.AccessKeyID)
		if errors.Is(err, fault.ErrSignIn) {
			s.account.Refused()
		}
		return err
	}
	return nil
}

// Get reads an object, with If-None-Match if the caller has a version. See
// [backend.Store].
func (s *Store) Get(ctx context.Context, object backend.Object, have backend.Version) ([]byte, backend.Version, error) {
	if err := object.Validate(); err != nil {
		return nil, "", err
	}
	return s.get(ctx, "get", object, have)
}

func (s *Store) get(ctx context.Context, op string, object backend.Object, have backend.Version) (data []byte, version backend.Version, err error) {
	in := &awss3.GetObjectInput{Bucket: &s.uri.Bucket, Key: aws.String(s.uri.Key(object))}
	if have != "" {
		in.IfNoneMatch = aws.String(string(have))
	}
	err = s.do(ctx, op, object, func(ctx context.Context) error {
		out, err := s.client.GetObject(awsauth.Expect(ctx, backend.MaxObject+1), in)
		if err != nil {
			return err
		}
		defer out.Body.Close()
		if aws.ToInt64(out.ContentLength) > backend.MaxObject {
			return fault.ErrTooLarge
		}
		data, err = io.ReadAll(io.LimitReader(out.Body, backend.MaxObject+1))
		if err != nil {
			return fmt.Errorf("read answer: %w", &cutShort{err})
		}
		if len(data) > backend.MaxObject {
			return fault.ErrTooLarge
		}
		version = backend.Version(aws.ToString(out.ETag))
		return checkETag(version)
	})
	if err != nil {
		return nil, "", err
	}
	return data, version, nil
}

// Put replaces an object with If-Match, or creates it with If-None-Match. See
// [backend.Store].
func (s *Store) Put(ctx context.Context, object backend.Object, data []byte, expect backend.Version) (backend.Version, error) {
	if err := object.Validate(); err != nil {
		return "", err
	}
	if len(data) == 0 {
		return "", fmt.Errorf("put %s: refused to store an empty object", object)
	}
	return s.put(ctx, "put", object, data, expect)
}

func (s *Store) put(ctx context.Context, op string, object backend.Object, data []byte, expect backend.Version) (backend.Version, error) {
	if len(data) > backend.MaxObject {
		return "", &fault.Error{Of: backend.Name, Kind: fault.ErrTooLarge, Op: about(op, object)}
	}
	in := &awss3.PutObjectInput{
		Bucket: &s.uri.Bucket, Key: aws.String(s.uri.Key(object)), Body: bytes.NewReader(data),
		ContentLength: aws.Int64(int64(len(data))), ContentType: aws.String(contentType),
	}
	if expect == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(string(expect))
	}
	var version backend.Version
	attempts := 0
	err := s.do(ctx, op, object, func(ctx context.Context) error {
		out, err := s.client.PutObject(ctx, in, counting(&attempts))
		if err != nil {
			return err
		}
		version = backend.Version(aws.ToString(out.ETag))
		return checkETag(version)
	})
	// An attempt whose answer was lost may have succeeded: then this writer was
	// the first one.
	if attempts > 1 && errors.Is(err, fault.ErrConflict) {
		if stored, v, getErr := s.get(ctx, op, object, ""); getErr == nil && bytes.Equal(stored, data) {
			return v, nil
		}
	}
	if err != nil {
		return "", err
	}
	return version, nil
}

// counting counts a request's attempts in n.
func counting(n *int) func(*awss3.Options) {
	count := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		*n++
		return next.HandleFinalize(ctx, in)
	}
	return func(o *awss3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("VigilAttempts", count), middleware.After)
		})
	}
}

// checkETag refuses a store whose ETags can't be compared.
func checkETag(v backend.Version) error {
	if v == "" || strings.HasPrefix(string(v), "W/") {
		return misconfigured("", "", fmt.Errorf("the store answered with the ETag %.40q", string(v)),
			"Use a store, or a proxy in front of it, that answers with strong ETags.")
	}
	return nil
}

// Probe checks with an object of its own that the store can be read and written
// and supports compare-and-swap. See [backend.Store].
func (s *Store) Probe(ctx context.Context) error {
	const op = "probe"
	version, err := s.put(ctx, op, probe, []byte("vigil 0\n"), "")
	if errors.Is(err, fault.ErrConflict) {
		_, version, err = s.get(ctx, op, probe, "")
	}
	if err != nil {
		return err
	}
	content := []byte("vigil " + time.Now().UTC().Format(time.RFC3339Nano) + "\n")
	if version, err = s.put(ctx, op, probe, content, version); err != nil {
		return err
	}
	if _, _, err := s.get(ctx, op, probe, version); !errors.Is(err, fault.ErrNotModified) {
		return ignores(op, "If-None-Match on GET", err)
	}
	if _, err := s.put(ctx, op, probe, content, ""); !errors.Is(err, fault.ErrConflict) {
		return ignores(op, "If-None-Match on PUT", err)
	}
	if _, err := s.put(ctx, op, probe, content, `"00000000000000000000000000000000"`); !errors.Is(err, fault.ErrConflict) {
		return ignores(op, "If-Match on PUT", err)
	}
	return nil
}

// probe is the object of Probe.
const probe backend.Object = "probe"

func ignores(op, what string, err error) error {
	if err != nil {
		return err
	}
	return misconfigured(op, probe, fmt.Errorf("the store ignores %s", what),
		"Use a store with conditional writes: without them devices overwrite each other's changes.")
}

// cutShort marks an incomplete answer: the connection broke.
type cutShort struct{ err error }

func (c *cutShort) Error() string { return c.err.Error() }
func (c *cutShort) Unwrap() error { return c.err }

// sorted returns a *fault.Error for the error of a request.
func sorted(op string, object backend.Object, err error, accessKeyID string) error {
	what := about(op, object)
	var e *fault.Error
	if errors.As(err, &e) {
		e.Op = what
		return e
	}
	if errors.Is(err, fault.ErrTooLarge) {
		return &fault.Error{Kind: fault.ErrTooLarge, Of: backend.Name, Op: what}
	}
	var cut *cutShort
	if errors.As(err, &cut) {
		return &fault.Error{Kind: fault.ErrUnreachable, Of: backend.Name, Op: what, Err: err, Next: "Nothing to do: it is tried again."}
	}
	f := awsauth.Sort(err)
	e = f.Of(backend.Name, what, accessKeyID)
	switch {
	case f.Status == http.StatusNotModified:
		e.Kind, e.Err, e.Next = fault.ErrNotModified, nil, ""
	case f.Status == http.StatusPreconditionFailed, f.Status == http.StatusConflict, op != "get" && f.Code == "NoSuchKey":
		e.Kind, e.Next = fault.ErrConflict, ""
	case f.Code == "NoSuchKey":
		e.Kind, e.Next = fault.ErrNotFound, ""
	case f.Kind == fault.ErrDenied && f.Next == awsauth.NextAccess: // and not because of the access key
		e.Next = nextDenied
	case f.Kind == nil:
		e.Kind, e.Next = fault.ErrMisconfigured, nextFor(f.Code)
	}
	return e
}

// about is what a request asks for.
func about(op string, object backend.Object) string {
	return strings.TrimSpace(op + " " + string(object))
}

const nextDenied = "Ask whoever runs the bucket for s3:GetObject, s3:PutObject and s3:ListBucket on it, or check the AWS profile; " +
	"without s3:ListBucket, S3 also calls an object denied that doesn't exist."

func nextFor(code string) string {
	switch code {
	case "NoSuchBucket":
		return "Check the bucket's name in the backend's URI, or make the bucket."
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "TemporaryRedirect":
		return "Add the bucket's region to the backend's URI: ?region=…"
	case "NotImplemented":
		return "Use a store with conditional writes: without them devices overwrite each other's changes."
	}
	return "Check the bucket, the region and the endpoint of the backend's URI."
}

func misconfigured(op string, object backend.Object, err error, next string) error {
	return &fault.Error{Of: backend.Name, Kind: fault.ErrMisconfigured, Op: about(op, object), Err: err, Next: next}
}
