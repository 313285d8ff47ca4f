package aws

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"vigil/internal/checkup"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// versitygw starts a real S3 server on a loopback port, with the bucket of this
// world, and makes it the world's backend. It is stopped when the test ends.
func (w *world) versitygw() {
	w.Helper()
	if os.Getenv(realClients) == "" {
		w.Skip("runs in make test-aws")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		w.Fatal(err)
	}
	dir := w.TempDir()
	for _, name := range []string{"root", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			w.Fatal(err)
		}
	}
	server := exec.Command("versitygw", "--port", address, "--access", w.alice.AccessKeyID, "--secret", w.alice.SecretAccessKey,
		"--region", awsfake.Region, "posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "root"))
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // it was killed
		if w.Failed() {
			w.Log(log.String())
		}
	})
	w.s3URL = "http://" + address
	client := w.s3Client()
	sshtest.Eventually(w, "versitygw answers", func() error {
		_, err := client.CreateBucket(w.Context(), &awss3.CreateBucketInput{Bucket: aws.String(bucket)})
		return err
	})
}

// s3Client is a client that isn't Vigil's.
func (w *world) s3Client() *awss3.Client {
	return awss3.New(awss3.Options{
		Region: awsfake.Region, BaseEndpoint: aws.String(w.s3URL), UsePathStyle: true, HTTPClient: http.DefaultClient,
		Credentials: credentials.NewStaticCredentialsProvider(w.alice.AccessKeyID, w.alice.SecretAccessKey, ""),
	})
}

// TestRealS3 runs a vault's life, and sixteen writers at once, against an S3
// server that nobody here wrote.
func TestRealS3(t *testing.T) {
	w := newWorld(t)
	w.versitygw()
	first := w.laptop(w.alice)
	first.OK(first.initArgs("--unlock")...)
	first.AddKey("shared")
	second := w.newHome(w.alice)
	second.copyVault(first)
	second.Start()
	second.Unlock()
	second.Signs("shared")

	const writers = 16
	var wg sync.WaitGroup
	results := make([]sshtest.Result, writers)
	for i := range writers {
		l := []*laptop{first, second}[i%2]
		wg.Go(func() {
			results[i] = l.Vigilctl("generate", fmt.Sprintf("key-%02d", i), "--comment", fmt.Sprintf("key-%02d", i))
		})
	}
	wg.Wait()
	want := []string{"shared"}
	for i, r := range results {
		if r.Status != sshtest.StatusDone {
			t.Errorf("writer %d: %s", i, r)
		}
		want = append(want, fmt.Sprintf("key-%02d", i))
	}
	first.OK(first.By("rm", "--yes", "shared")...)
	want = want[1:]
	text, err := os.ReadFile(second.VaultFile())
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(first.VaultFile())
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(first.VaultFile(), append(own, lines...), 0o600); err != nil {
		t.Fatal(err)
	}
	first.OK("refresh")
	if got := first.Listed(); !slices.Equal(got, want) {
		t.Errorf("listed %q", got)
	}
	checks, status := first.doctor()
	if status != sshtest.StatusDone {
		t.Errorf("doctor ends with %d", status)
	}
	says(t, checks, "backend", checkup.OK, "compare-and-swap")
	says(t, checks, "retention", checkup.Warn, "aren't kept")
}
