package s3

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"vigil/internal/awsauth"
	"vigil/internal/backend"
	"vigil/internal/fault"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/backendtest"
)

// startTimeout limits the wait for versitygw, which starts in 0.1 s.
const startTimeout = 20 * time.Second

// versitygw starts a real S3 server on a loopback port, with a bucket, and
// returns its URI. It is stopped when the test ends.
func versitygw(t *testing.T) backend.URI {
	t.Helper()
	if os.Getenv("VIGIL_TEST_AWS") == "" {
		t.Skip("runs in make test-aws")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"root", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	caller := awsfake.New().AddUser("alice")
	caller.Setenv(t)
	ctx, cancel := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, "versitygw", "--port", address, "--access", caller.AccessKeyID, "--secret", caller.SecretAccessKey,
		"--region", awsfake.Region, "posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "root"))
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = server.Wait() // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	uri := backend.URI{Scheme: backend.SchemeS3, Bucket: bucket, Endpoint: "http://" + address}
	makeBucket(t, uri)
	return uri
}

func makeBucket(t *testing.T, uri backend.URI) {
	t.Helper()
	client := open(t, uri).client
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for {
		_, err := client.CreateBucket(ctx, &awss3.CreateBucketInput{
			Bucket:                    aws.String(uri.Bucket),
			CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(awsfake.Region)},
		})
		if err == nil {
			return
		}
		if f := awsauth.Sort(err); f.Kind != fault.ErrUnreachable || ctx.Err() != nil {
			t.Fatal(err) // it is up and refuses, or it doesn't come up
		}
	}
}

// TestRealServer runs the conformance suite on an S3 server that nobody here
// wrote.
func TestRealServer(t *testing.T) {
	uri := versitygw(t)
	n := 0
	backendtest.Run(t, func(t *testing.T) backend.Store {
		n++
		uri.Prefix = fmt.Sprintf("vigil/%d", n)
		return open(t, uri)
	}, func(t *testing.T) backend.Store { return open(t, uri) })
}

func TestRealServerVersions(t *testing.T) {
	uri := versitygw(t)
	s := open(t, uri)
	if r, err := s.Retention(t.Context()); err != nil || r.Versioned {
		t.Errorf("Retention = %+v, %v; want no versions", r, err)
	}
	_, err := s.client.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{
		Bucket: aws.String(bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	// It has no lifecycle rules, and says so in one of two ways.
	if r, err := s.Retention(t.Context()); err != nil || !r.Versioned || !r.Forever() && r.Unknown == "" {
		t.Errorf("Retention = %+v, %v; want versions without an end", r, err)
	}
}
