package membership

import (
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/s3fake"
)

const bucket = "keyrings"

// cloud is an AWS account with a bucket and two master keys.
type cloud struct {
	*awsfake.Cloud
	kms            *kmsfake.Server
	s3             *s3fake.Server
	first, second  string // ARNs of the keys
	kmsURL, bucket string
	env            []string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{Cloud: awsfake.New()}
	c.kms, c.s3 = kmsfake.New(c.Cloud), s3fake.New(c.Cloud, bucket)
	c.first, c.second = c.kms.CreateKey(), c.kms.CreateKey()
	kms, s3 := httptest.NewServer(c.kms), httptest.NewServer(c.s3)
	t.Cleanup(func() {
		kms.Close()
		s3.Close()
	})
	c.kmsURL = kms.URL
	c.bucket = "s3://" + bucket + "/team?endpoint=" + url.QueryEscape(s3.URL)
	c.env = c.AddUser("alice").Env()
	return c
}

// master is the URI of a key.
func (c *cloud) master(arn string) string {
	return "awskms:///" + arn + "?endpoint=" + url.QueryEscape(c.kmsURL)
}

// cut ends the connection at the nth request (from 1) whose action is one of
// actions, and everything after it; with after, that one is carried out and only
// its answer is lost. mend ends the cut, and tells whether it came to it.
func (c *cloud) cut(n int, after bool, actions ...string) (mend func() bool) {
	var mu sync.Mutex
	seen := 0
	c.SetFault(func(call awsfake.Call) awsfake.Fault {
		mu.Lock()
		defer mu.Unlock()
		if seen < n {
			for _, a := range actions {
				if call.Action == a {
					seen++
				}
			}
			if seen < n {
				return awsfake.Fault{}
			}
			return awsfake.Fault{Drop: true, After: after}
		}
		return awsfake.Fault{Drop: true}
	})
	return func() bool {
		c.SetFault(nil)
		mu.Lock()
		defer mu.Unlock()
		return seen >= n
	}
}
