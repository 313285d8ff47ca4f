package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"vigil/internal/unixsock"
)

// fake answers as a test sets it; it refuses other operations.
type fake struct {
	status func(context.Context, *Call) (*StatusReply, error)
	unlock func(context.Context, *Call, *UnlockRequest) (*UnlockReply, error)
	export func(context.Context, *Call, *ExportRequest) (*ExportReply, error)
	lock   func(context.Context) (*LockReply, error)
	verify func(*VerifyRequest) (*VerifyReply, error)
}

func (f *fake) Version(context.Context, *Call, *VersionRequest) (*VersionReply, error) {
	return &VersionReply{Build: "b", Version: "v", PID: 7}, nil
}

func (f *fake) Stop(context.Context, *Call, *StopRequest) (*StopReply, error) {
	return &StopReply{PID: 7, Locked: []string{"default"}}, nil
}

func (f *fake) Lock(ctx context.Context, _ *Call, _ *LockRequest) (*LockReply, error) {
	if f.lock != nil {
		return f.lock(ctx)
	}
	return &LockReply{}, nil
}

func (f *fake) Status(ctx context.Context, c *Call, _ *StatusRequest) (*StatusReply, error) {
	return f.status(ctx, c)
}

func (f *fake) Unlock(ctx context.Context, c *Call, r *UnlockRequest) (*UnlockReply, error) {
	return f.unlock(ctx, c, r)
}

func (f *fake) Export(ctx context.Context, c *Call, r *ExportRequest) (*ExportReply, error) {
	return f.export(ctx, c, r)
}

func (f *fake) Verify(_ context.Context, _ *Call, r *VerifyRequest) (*VerifyReply, error) {
	return f.verify(r)
}

func (f *fake) operations() []Operation {
	return []Operation{Handle(f.Version), Handle(f.Stop), Handle(f.Lock), Handle(f.Status), Handle(f.Unlock), Handle(f.Export), Handle(f.Verify)}
}

// serve runs a server on its own socket and stops it with the test.
func serve(t *testing.T, h *fake, change ...func(*Server)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.sock")
	l, err := unixsock.Listen(path, unixsock.Options{AnyFolder: true})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(slog.New(slog.DiscardHandler), h.operations()...)
	for _, c := range change {
		c(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return path
}

func connect(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// pipe returns the read end of a closed pipe that contains text.
func pipe(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func wantCode(t *testing.T, err error, code Code) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error is %v, want one of code %s", err, code)
	}
	return e
}

func TestRequestIsAnsweredByItsMethod(t *testing.T) {
	c := connect(t, serve(t, &fake{}))
	for range 3 { // several requests on one connection
		v, err := Do(t.Context(), c, &VersionRequest{})
		if err != nil || v.PID != 7 {
			t.Fatalf("version: %+v, %v", v, err)
		}
	}
}

func TestFilesArriveOpenAndUnreadAndAreClosedAfter(t *testing.T) {
	requests := make(chan *UnlockRequest, 1)
	h := &fake{unlock: func(_ context.Context, c *Call, r *UnlockRequest) (*UnlockReply, error) {
		if c.Peer.UID != uint32(os.Getuid()) || c.Peer.PID != os.Getpid() {
			t.Errorf("peer is %+v", c.Peer)
		}
		b, err := io.ReadAll(r.Passphrase)
		if err != nil {
			t.Error(err)
		}
		requests <- r
		return &UnlockReply{Saved: Saved{Notices: []string{string(b)}}}, nil
	}}
	c := connect(t, serve(t, h))
	file := pipe(t, "correct horse")
	reply, err := Do(t.Context(), c, &UnlockRequest{Vault: "work", Passphrase: file})
	if err != nil {
		t.Fatal(err)
	}
	kept := <-requests
	if reply.Notices[0] != "correct horse" || kept.Vault != "work" {
		t.Errorf("handler saw %q for vault %q", reply.Notices, kept.Vault)
	}
	if _, err := file.Stat(); err != nil {
		t.Errorf("the client's own file: %v", err)
	}
	// The reply precedes the closing of the request's files, the next reply follows it.
	if _, err := Do(t.Context(), c, &VersionRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Passphrase.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the handler's file after the request: %v, want closed", err)
	}
}

func TestHandlerKeepsAFileByTakingIt(t *testing.T) {
	files := make(chan *os.File, 1)
	h := &fake{unlock: func(_ context.Context, _ *Call, r *UnlockRequest) (*UnlockReply, error) {
		files <- r.Passphrase
		r.Passphrase = nil
		return &UnlockReply{}, nil
	}}
	c := connect(t, serve(t, h))
	if _, err := Do(t.Context(), c, &UnlockRequest{Passphrase: pipe(t, "x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := Do(t.Context(), c, &VersionRequest{}); err != nil {
		t.Fatal(err)
	}
	file := <-files
	defer file.Close()
	if b, err := io.ReadAll(file); err != nil || string(b) != "x" {
		t.Errorf("kept file reads %q, %v", b, err)
	}
}

func TestSeveralFilesKeepTheirNames(t *testing.T) {
	h := &fake{export: func(_ context.Context, _ *Call, r *ExportRequest) (*ExportReply, error) {
		a, _ := io.ReadAll(r.Passphrase)
		b, _ := io.ReadAll(r.NewPassphrase)
		_, err := r.Output.WriteString(string(a) + "," + string(b))
		return &ExportReply{}, err
	}}
	c := connect(t, serve(t, h))
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	_, err = Do(t.Context(), c, &ExportRequest{Key: "k", Passphrase: pipe(t, "old"), NewPassphrase: pipe(t, "new"), Output: out})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(out.Name()); string(b) != "old,new" {
		t.Errorf("output holds %q", b)
	}
}

func TestErrorsKeepTheirCodeAndNext(t *testing.T) {
	fail := make(chan error, 1)
	h := &fake{status: func(context.Context, *Call) (*StatusReply, error) { return nil, <-fail }}
	c := connect(t, serve(t, h))
	for _, tc := range []struct {
		fail error
		want Error
	}{
		{Errorf(CodeLocked, "unlock it", "vault %q is locked", "a"), Error{Code: CodeLocked, Message: `vault "a" is locked`, Next: "unlock it"}},
		{errors.New("disk on fire"), Error{Code: CodeFailed, Message: "disk on fire"}},
		{Ambiguous("n", []Key{{ID: "i", Name: "n"}}), *Ambiguous("n", []Key{{ID: "i", Name: "n"}})},
		{errors.Join(errors.New("a"), errors.New("b")), Error{Code: CodeFailed, Message: "a; b"}},
		{errors.Join(Errorf(CodeRevoked, "n", "m")), Error{Code: CodeRevoked, Message: "m", Next: "n"}},
	} {
		fail <- tc.fail
		_, err := Do(t.Context(), c, &StatusRequest{})
		if e := wantCode(t, err, tc.want.Code); !reflect.DeepEqual(*e, tc.want) {
			t.Errorf("got %+v, want %+v", *e, tc.want)
		}
	}
}

func TestAPanicIsThatRequestsFailureAlone(t *testing.T) {
	h := &fake{status: func(context.Context, *Call) (*StatusReply, error) { panic("secret text") }}
	c := connect(t, serve(t, h))
	_, err := Do(t.Context(), c, &StatusRequest{})
	if e := wantCode(t, err, CodeFailed); strings.Contains(e.Message+e.Next, "secret") {
		t.Errorf("the panic's value reached the client: %v", e)
	}
	if _, err := Do(t.Context(), c, &VersionRequest{}); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}

func TestOtherBuildMayOnlyLockStopAndAskWhoIsThere(t *testing.T) {
	path := serve(t, &fake{})
	c, err := dial(t.Context(), path, "another build", helloTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.SameBuild() {
		t.Error("builds count as the same")
	}
	if _, err := Do(t.Context(), c, &VersionRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := Do(t.Context(), c, &LockRequest{}); err != nil {
		t.Error(err)
	}
	_, err = Do(t.Context(), c, &StatusRequest{})
	wantCode(t, err, CodeOtherBuild)
	_, err = Do(t.Context(), c, &UnlockRequest{Passphrase: pipe(t, "x")})
	wantCode(t, err, CodeOtherBuild)
}

func TestStopHoldsTheConnectionUntilTheProcessEnds(t *testing.T) {
	held := make(chan *os.File, 1)
	path := serve(t, &fake{}, func(s *Server) {
		s.hold = func(conn *net.UnixConn) {
			f, err := conn.File() // closed by the end of the process
			if err != nil {
				t.Error(err)
			}
			held <- f
		}
	})
	c := connect(t, path)
	if _, err := Do(t.Context(), c, &StopRequest{}); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- c.WaitGone(t.Context()) }()
	f := <-held
	select {
	case err := <-gone:
		t.Fatalf("gone before the process ended: %v", err)
	default:
	}
	_ = c.ch.conn.CloseWrite() // end the server's session: only the held descriptor remains
	_ = f.Close()
	if err := <-gone; err != nil {
		t.Error(err)
	}
}

func TestAsk(t *testing.T) {
	h := &fake{status: func(ctx context.Context, c *Call) (*StatusReply, error) {
		a, err := c.Ask(ctx, Ask{"code?"})
		if err != nil {
			return nil, err
		}
		return &StatusReply{Config: a.Text}, nil
	}}
	path := serve(t, h)
	t.Run("answered", func(t *testing.T) {
		c := connect(t, path)
		c.OnAsk = func(_ context.Context, a Ask) (Answer, error) { return Answer{Text: a.Message + "123"}, nil }
		if r, err := Do(t.Context(), c, &StatusRequest{}); err != nil || r.Config != "code?123" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		_, err := Do(t.Context(), connect(t, path), &StatusRequest{})
		wantCode(t, err, CodeRefused)
	})
	t.Run("declined", func(t *testing.T) {
		c := connect(t, path)
		c.OnAsk = func(context.Context, Ask) (Answer, error) { return Answer{}, Errorf(CodeInterrupted, "", "no") }
		_, err := Do(t.Context(), c, &StatusRequest{})
		wantCode(t, err, CodeInterrupted)
	})
}

func TestAClientThatGoesAwayEndsWhatItAskedFor(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	h := &fake{status: func(ctx context.Context, _ *Call) (*StatusReply, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	c := connect(t, serve(t, h))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := Do(ctx, c, &StatusRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("client's error: %v", err)
	}
	c.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("handler's context: %v", err)
	}
}

func TestALockGoesToItsEndWithoutItsClient(t *testing.T) {
	began, proceed, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h := &fake{lock: func(ctx context.Context) (*LockReply, error) {
		close(began)
		<-proceed
		done <- ctx.Err()
		return &LockReply{}, nil
	}}
	c := connect(t, serve(t, h))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	_, _ = Do(ctx, c, &LockRequest{})
	c.Close()
	close(proceed)
	if err := <-done; err != nil {
		t.Errorf("the lock's context ended: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	_, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none"))
	wantCode(t, err, CodeNoDaemon)

	path := filepath.Join(t.TempDir(), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	_, err = Dial(t.Context(), path)
	wantCode(t, err, CodeNoDaemon)
}

// TestServeEndsWithConnectionsOpen: serve's cleanup fails the test if goroutines remain.
func TestServeEndsWithConnectionsOpen(t *testing.T) {
	path := serve(t, &fake{})
	for range 3 {
		connect(t, path)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	path := serve(t, &fake{})
	var wg sync.WaitGroup
	for range maxConnections { // of one process
		wg.Go(func() {
			c, err := Dial(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := Do(t.Context(), c, &VersionRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestDialGivesUpWithItsContext: the listener may never send a hello.
func TestDialGivesUpWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mute")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
		}
		cancel()
		<-t.Context().Done()
	}()
	if _, err := Dial(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("dial: %v", err)
	}
}

func TestExitStatuses(t *testing.T) {
	for code, want := range map[Code]int{
		CodeFailed: 1, CodeNotFound: 1, CodeExists: 1, CodeAmbiguous: 1, CodeDamaged: 1, CodeInterrupted: 1,
		CodeUsage: 2, CodeLocked: 3, CodeWrongPassphrase: 4, CodeKeyPassphrase: 4, CodeNoDaemon: 5,
		CodeOtherBuild: 5, CodeUnreachable: 6, CodeRefused: 7, CodeRevoked: 7, "new code": 1,
	} {
		if got := code.ExitStatus(); got != want {
			t.Errorf("%s ends with %d, want %d", code, got, want)
		}
	}
}

func TestAmbiguousListsTheKeys(t *testing.T) {
	keys := make([]Key, 12)
	for i := range keys {
		keys[i] = Key{ID: "id", Fingerprint: "SHA256:x", Vault: "v", Name: "n"}
	}
	e := Ambiguous("n", keys)
	if n := len(e.Details); n != maxListedMatches+1 || e.Details[n-1] != "and 2 more" {
		t.Errorf("%d lines: %q", n, e.Details)
	}
}
