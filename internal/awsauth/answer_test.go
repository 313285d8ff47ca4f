package awsauth

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vigil/internal/fault"
)

// slack is what lies in a socket's buffers when its reader has gone.
const slack = 16 << 20

// endless answers every request without an end, and counts what it sends.
type endless struct {
	status int
	start  string
	sent   atomic.Int64
}

func (e *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(e.status)
	_, _ = io.WriteString(w, e.start)
	block := bytes.Repeat([]byte("A"), 64<<10)
	for r.Context().Err() == nil {
		n, err := w.Write(block)
		e.sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// TestEndlessAnswers of whatever an account asks for credentials, and of a service.
func TestEndlessAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		start  string
		point  func(t *testing.T, url string) Options
	}{
		"sts":           {http.StatusOK, "<AssumeRoleResponse>", inRole},
		"sts, an error": {http.StatusForbidden, "<ErrorResponse>", inRole},
		"container": {http.StatusOK, `{"AccessKeyId":"`, func(t *testing.T, url string) Options {
			nobody(t)
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
			return Options{}
		}},
		"metadata": {http.StatusOK, "token", func(t *testing.T, url string) Options {
			nobody(t)
			t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
			return Options{IMDS: true}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &endless{status: tc.status, start: tc.start}
			server := httptest.NewServer(e)
			t.Cleanup(server.Close)
			_, err := load(t, tc.point(t, server.URL)).SignIn(t.Context())
			var f *Fault
			if !errors.As(err, &f) || !strings.Contains(err.Error(), "more than") {
				t.Errorf("%v doesn't say why", err)
			}
			if n := e.sent.Load(); n > maxAttempts*(maxAnswer+slack) {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}

// nobody takes every credential out of the environment.
func nobody(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

// inRole has an account assume a role of an STS at a URL.
func inRole(t *testing.T, url string) Options {
	t.Helper()
	setup(t, "[profile work]\nrole_arn = arn:aws:iam::111122223333:role/vigil\nsource_profile = base\n")
	t.Setenv("AWS_ENDPOINT_URL_STS", url)
	return Options{Profile: "work", Region: "eu-central-1"}
}

// ask signs in there, which must fail.
func ask(t *testing.T, url string) error {
	t.Helper()
	_, err := load(t, inRole(t, url)).SignIn(t.Context())
	if err == nil {
		t.Fatal("it was taken for an answer")
	}
	return err
}

func TestATrickleEnds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	err := ask(t, server.URL)
	wantKind(t, err, fault.ErrUnreachable)
	if !strings.Contains(err.Error(), "longer than") {
		t.Errorf("%v doesn't say why", err)
	}
}

func TestEndlessHeadersEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var sent atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
				line := []byte("X-More: " + strings.Repeat("a", 4000) + "\r\n")
				for {
					n, err := conn.Write(line)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	wantKind(t, ask(t, "http://"+l.Addr().String()), fault.ErrUnreachable)
	if n := sent.Load(); n > maxAttempts*(maxHeaders+slack) {
		t.Errorf("%d bytes were read", n)
	}
}

// TestALoginPage: what a hotel's network answers in the service's place is named.
func TestALoginPage(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>Welcome to our hotel</html>")
	}))
	t.Cleanup(server.Close)
	wantNext(t, ask(t, server.URL), fault.ErrUnreachable,
		"Something else answered in the service's place; check for a proxy or a login page on this network.")
}

// TestAnEndpointInClear: where the environment says so, too, nothing is sent in clear.
func TestAnEndpointInClear(t *testing.T) {
	err := ask(t, "http://sts.invalid")
	wantNext(t, err, fault.ErrMisconfigured, "Use an https endpoint; see AWS_ENDPOINT_URL and endpoint_url in your AWS configuration.")
	if !strings.Contains(err.Error(), "refused to send a request in clear to sts.invalid") {
		t.Error(err)
	}
}

// TestNothingIsExpanded: an answer that nobody asked to be compressed isn't expanded,
// so what was counted is what lies in memory.
func TestNothingIsExpanded(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	block := make([]byte, 1<<20)
	for range 64 {
		_, _ = z.Write(block)
	}
	_ = z.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Errorf("asks for %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(bomb.Bytes())
	}))
	t.Cleanup(server.Close)
	_ = ask(t, server.URL)
}
