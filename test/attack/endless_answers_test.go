package attack

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/kmsfake"
	"vigil/internal/testing/s3fake"
	"vigil/internal/testing/sshtest"
)

// liar is a service that answers as it should, until it is told to answer without an end.
type liar struct {
	honest http.Handler
	status atomic.Int64 // of the endless answers; 0: honest ones
	slow   atomic.Bool  // a byte at a time
	sent   atomic.Int64 // bytes of endless answers
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := int(l.status.Load())
	if status == 0 {
		l.honest.ServeHTTP(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("ETag", `"1"`)
	w.WriteHeader(status)
	block := bytes.Repeat([]byte("<A"), 32<<10)
	for r.Context().Err() == nil {
		part := block
		if l.slow.Load() {
			part = block[:1]
			time.Sleep(20 * time.Millisecond) // what is slow is the point
		}
		n, err := w.Write(part)
		l.sent.Add(int64(n))
		if err != nil {
			return
		}
		if l.slow.Load() {
			w.(http.Flusher).Flush()
		}
	}
}

// peak follows the memory of the openers below a daemon until it is stopped, and
// returns the most bytes that one of them had.
func peak(daemon int) (stop func() int64) {
	quit, most := make(chan struct{}), make(chan int64)
	go func() {
		var high int64
		for {
			select {
			case <-quit:
				most <- high
				return
			case <-time.After(5 * time.Millisecond):
				high = max(high, openerMemory(daemon))
			}
		}
	}()
	return func() int64 { close(quit); return <-most }
}

// openerMemory is the most that the openers below a daemon have had in memory, in bytes.
func openerMemory(daemon int) (high int64) {
	for _, pid := range sshtest.Children(daemon) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || !bytes.HasPrefix(text, []byte("Name:\tvigil-opener\n")) {
			continue
		}
		_, rest, _ := strings.Cut(string(text), "\nVmHWM:")
		fields := strings.Fields(rest)
		if len(fields) > 0 {
			if kib, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				high = max(high, kib<<10)
			}
		}
	}
	return high
}

// TestAnswersThatNeverEnd: whoever runs the backend, the KMS or what sits between
// answers without an end, whole or as an error, fast or a byte at a time. The opener
// reads no more than an answer may have, says so, and the vault goes on as without
// network. (docs/threat-model.md, "The operator of the backend", "The operator of the KMS")
func TestAnswersThatNeverEnd(t *testing.T) {
	t.Parallel()
	cloud := awsfake.New()
	service := kmsfake.New(cloud)
	kms, s3 := &liar{honest: service}, &liar{honest: s3fake.New(cloud, "bucket")}
	kmsServer, s3Server := httptest.NewServer(kms), httptest.NewServer(s3)
	t.Cleanup(func() { kmsServer.Close(); s3Server.Close() })
	h := sshtest.NewHome(t, ownerPassphrase, append(cloud.AddUser("alice").Env(), "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION="+awsfake.Region)...)
	h.Start()
	h.Found("s3://bucket/v?endpoint="+url.QueryEscape(s3Server.URL), "awskms:///"+service.CreateKey("alias/vigil")+"?endpoint="+url.QueryEscape(kmsServer.URL))
	h.AddKey("shared")
	var base int64
	for range 100 { // an opener that has nothing to do is gone before one can look, at times
		quiet := peak(h.Agent.Process.Pid)
		h.OK("refresh")
		if base = quiet(); base > 0 {
			break
		}
	}
	if runtime.GOOS == "linux" && base == 0 {
		t.Fatal("no opener was seen: the memory of none is held to anything")
	}
	const (
		answer = 1 << 20  // what an answer may have
		object = 64 << 20 // and one with a keyring
		socket = 16 << 20 // what lies in buffers when the reader has gone
	)
	for _, tc := range []struct {
		name   string
		liar   *liar
		status int
		slow   bool
		most   int64 // of one answer
	}{
		{"s3, an error", s3, http.StatusBadRequest, false, answer},
		{"s3, a refusal", s3, http.StatusForbidden, false, answer},
		{"s3, an outage", s3, http.StatusServiceUnavailable, false, answer},
		{"s3, an object", s3, http.StatusOK, false, object},
		{"s3, an error by the byte", s3, http.StatusBadRequest, true, answer},
		{"kms, an error", kms, http.StatusBadRequest, false, answer},
		{"kms, a refusal", kms, http.StatusForbidden, false, answer},
		{"kms, an outage", kms, http.StatusInternalServerError, false, answer},
		{"kms, an answer", kms, http.StatusOK, false, answer},
		{"kms, an answer by the byte", kms, http.StatusOK, true, answer},
	} {
		tc.liar.sent.Store(0)
		tc.liar.slow.Store(tc.slow)
		tc.liar.status.Store(int64(tc.status))
		loaded := peak(h.Agent.Process.Pid)
		r := promptly(h, "refresh")
		memory := loaded()
		tc.liar.status.Store(0)
		if r.Status == sshtest.StatusDone || !strings.Contains(r.Out+r.Err, "more than") &&
			!strings.Contains(r.Out+r.Err, "longer than") && !strings.Contains(r.Out+r.Err, "too large") {
			t.Errorf("%s: doesn't say why: %s", tc.name, r)
		}
		const attempts = 4
		if n := tc.liar.sent.Load(); n > attempts*(tc.most+socket) {
			t.Errorf("%s: %d MiB were read", tc.name, n>>20)
		}
		if most := base + 4*tc.most + socket; memory > most {
			t.Errorf("%s: the opener had %d MiB, without it %d, at most %d", tc.name, memory>>20, base>>20, most>>20)
		}
		h.Signs("shared")
	}
	h.OK("refresh")
}
