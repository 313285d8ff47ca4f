package s3

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"vigil/internal/backend"
	"vigil/internal/fault"
)

// Retention asks for the bucket's versioning and its lifecycle rules. If the
// caller may not see them, the Retention says so, and there is no error.
func (s *Store) Retention(ctx context.Context) (backend.Retention, error) {
	const op = "ask for the retention"
	var r backend.Retention
	err := s.do(ctx, op, "", func(ctx context.Context) error {
		out, err := s.client.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: &s.uri.Bucket})
		if err == nil {
			// A bucket whose versioning is suspended keeps the versions it has.
			r.Versioned = out.Status == types.BucketVersioningStatusEnabled || out.Status == types.BucketVersioningStatusSuspended
		}
		return err
	})
	if err != nil {
		return unknown(err, "the bucket's versioning (s3:GetBucketVersioning)")
	}
	if !r.Versioned {
		return r, nil
	}
	var rules []types.LifecycleRule
	err = s.do(ctx, op, "", func(ctx context.Context) error {
		out, err := s.client.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &s.uri.Bucket})
		if err == nil {
			rules = out.Rules
		}
		return err
	})
	var e *fault.Error
	switch {
	case errors.As(err, &e) && e.Code == "NoSuchLifecycleConfiguration":
		return r, nil
	case err != nil:
		unknown, err := unknown(err, "the bucket's lifecycle rules (s3:GetLifecycleConfiguration)")
		unknown.Versioned = true
		return unknown, err
	}
	for _, rule := range rules {
		if !s.covered(rule) {
			continue
		}
		days := int(aws.ToInt32(rule.NoncurrentVersionExpiration.NoncurrentDays))
		if r.Days == 0 || days < r.Days {
			r.Days = days
			r.Generations = int(aws.ToInt32(rule.NoncurrentVersionExpiration.NewerNoncurrentVersions))
		}
	}
	return r, nil
}

// covered reports whether a rule expires old versions of both objects: it is
// enabled, on a prefix of their keys, and has no conditions they don't meet.
func (s *Store) covered(rule types.LifecycleRule) bool {
	if rule.Status != types.ExpirationStatusEnabled || rule.NoncurrentVersionExpiration == nil {
		return false
	}
	//lint:ignore SA1019 older rules still have their prefix here
	prefix := aws.ToString(rule.Prefix)
	if f := rule.Filter; f != nil {
		if f.And != nil || f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil {
			return false
		}
		if f.Prefix != nil {
			prefix = *f.Prefix
		}
	}
	return strings.HasPrefix(s.uri.Key(backend.Members), prefix) && strings.HasPrefix(s.uri.Key(backend.Deks), prefix)
}

// unknown turns a denied request into a Retention that says so.
func unknown(err error, what string) (backend.Retention, error) {
	if errors.Is(err, fault.ErrDenied) {
		return backend.Retention{Unknown: "this caller may not see " + what}, nil
	}
	var e *fault.Error
	if errors.As(err, &e) && (e.Code == "NotImplemented" || e.Code == "MethodNotAllowed") {
		return backend.Retention{Unknown: "the store doesn't tell " + what}, nil
	}
	return backend.Retention{}, err
}
