package awsauth

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestARequestWithoutAnAnswerSaysWhy: in words, with the host, and none of the SDK's.
func TestARequestWithoutAnAnswerSaysWhy(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	hangUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	}))
	defer hangUp.Close()
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	defer stranger.Close()
	stranger.Config.ErrorLog = nil
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ask := func(url string, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"refused":    {ask(closed.URL, time.Minute), "127.0.0.1:PORT refused the connection"},
		"hung up":    {ask(hangUp.URL, time.Minute), "127.0.0.1:PORT ended the connection before it answered"},
		"untrusted":  {ask(stranger.URL, time.Minute), "the certificate of 127.0.0.1:PORT isn't valid for it, or isn't trusted here"},
		"silent":     {ask("http://"+silent.Addr().String(), time.Millisecond), "127.0.0.1:PORT didn't answer in time"},
		"no address": {&net.DNSError{Name: "kms.nowhere.amazonaws.com", IsNotFound: true}, "there is no address for kms.nowhere.amazonaws.com"},
		"no lookup":  {&net.DNSError{Name: "kms.example.com", IsTimeout: true}, "the address of kms.example.com could not be looked up"},
	} {
		got := transport(tt.err)
		var request *url.Error
		if errors.As(tt.err, &request) {
			u, err := url.Parse(request.URL)
			if err != nil {
				t.Fatal(err)
			}
			got = strings.ReplaceAll(got, ":"+u.Port(), ":PORT")
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q (%v)", name, got, tt.want, tt.err)
		}
	}
	if got := transport(errors.New("something else")); got != "" {
		t.Errorf("an unknown cause is %q", got)
	}
}

func TestNoCredentialsAreSaidToBeMissing(t *testing.T) {
	nobody(t)
	_, err := load(t, Options{}).SignIn(t.Context())
	if err == nil || err.Error() != "there are no AWS credentials: neither in the environment nor in the AWS configuration files" {
		t.Errorf("it says %v", err)
	}
}
