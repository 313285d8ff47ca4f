package control

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"vigil/internal/unixsock"
)

// A process gets only its share of requests, all processes only the total, and
// completed requests don't count.
func TestRequestsHaveABudget(t *testing.T) {
	s := NewServer(slog.New(slog.DiscardHandler))
	for i := range maxOfProcess {
		if !s.begin(1) {
			t.Fatalf("request %d of a process is refused", i)
		}
	}
	if s.begin(1) {
		t.Error("a process has more than its share")
	}
	for pid := 2; s.begin(pid); pid++ {
		if s.all > maxRequests {
			t.Fatal("there is no end")
		}
	}
	if s.all != maxRequests {
		t.Errorf("%d requests, want %d", s.all, maxRequests)
	}
	for range maxOfProcess {
		s.end(1)
	}
	if !s.begin(1) || len(s.doing) != 1+maxRequests-maxOfProcess {
		t.Errorf("after the end %d processes have requests", len(s.doing))
	}
}

// A person who is asked and doesn't answer can't block a vault for longer, even over
// several questions of one request.
func TestAnswersHaveATime(t *testing.T) {
	a, b, err := unixsock.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := unixsock.Conn(a)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer os.NewFile(uintptr(b), "theirs").Close()
	s := &session{server: NewServer(slog.New(slog.DiscardHandler)), ch: &channel{conn: ours}, frames: make(chan frame)}
	patience := time.NewTimer(0)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := s.ask(ctx, patience, Ask{Message: "code?"})
		cancel()
		wantAdvice(t, err, "nobody answered within 2m0s", "Run it again.")
	}
}

// A request starts only when its input is there; a lock ends the wait.
func TestInputIsAwaited(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	server := NewServer(slog.New(slog.DiscardHandler))
	s := &session{server: server, ch: &channel{conn: &net.UnixConn{}}}
	req := &UnlockRequest{Passphrase: r}
	await := func() <-chan error {
		result := make(chan error, 1)
		go func() { result <- s.awaitInput(t.Context(), req.op(), &operation{req: req}) }()
		return result
	}
	result := await()
	for deadline := time.Now().Add(time.Minute); ; {
		server.mu.Lock()
		n := len(server.waiting)
		server.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it doesn't wait")
		}
	}
	server.endWaiting()
	wantCode(t, <-result, CodeInterrupted)

	result = await()
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	if len(server.waiting) != 0 {
		t.Errorf("%d requests wait still", len(server.waiting))
	}
}
