package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wantAdvice checks a failure's whole message and advice; … stands for any text.
func wantAdvice(t *testing.T, err error, message, next string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %q", err, message)
	}
	for got, want := range map[string]string{e.Message: message, e.Next: next} {
		before, after, open := strings.Cut(want, "…")
		if got != want && (!open || !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after)) {
			t.Errorf("it says\n\t%s\nwant\n\t%s", got, want)
		}
	}
}

// answering listens in vigild's place. It says each of the messages, and then nothing.
func answering(t *testing.T, messages ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "c.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for _, m := range messages {
			_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(m))), m...))
		}
		<-t.Context().Done()
	}()
	t.Cleanup(func() { l.Close(); <-served })
	return path
}

const goodHello = `{"vigil":"control","version":1,"build":"another"}`

// TestAdviceAboutTheConnection: what may be at the socket instead of vigild, or become of it.
func TestAdviceAboutTheConnection(t *testing.T) {
	pid := os.Getpid()
	for _, tt := range []struct {
		name          string
		path          func(t *testing.T) string
		message, next string
		mute          bool
	}{
		{"a file in the path", func(t *testing.T) string {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(file, "c.sock")
		}, "connect to vigild: …: not a directory", "A part of that path is a file and not a folder: check the path.", false},
		{"a socket of another type", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "c.sock")
			l, err := net.ListenPacket("unixgram", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return path
		}, "connect to vigild: …", "`vigilctl up` starts a daemon, or says what is in its way.", false},
		{
			"one that says nothing", func(t *testing.T) string { return answering(t) },
			fmt.Sprintf("vigild (process %d) doesn't answer", pid), fmt.Sprintf("Try again. If it was stopped, `kill -CONT %d` resumes it.", pid), true,
		},
		{
			"another program", func(t *testing.T) string { return answering(t, `{"vigil":"another","version":1,"build":"b"}`) },
			fmt.Sprintf("talk to vigild (process %d): the other side does not speak this version of the control protocol", pid),
			fmt.Sprintf("If that isn't vigild, find out what it is. `kill %d` ends it, and `vigilctl up` starts a daemon then.", pid), false,
		},
		{
			"a reply of another build", func(t *testing.T) string { return answering(t, goodHello, `{"news":1}`) },
			`read vigild's reply to version: json: unknown field "news"`, "`vigilctl up` restarts a daemon of another build.", false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			patience := helloTimeout
			if tt.mute {
				patience = time.Millisecond
			}
			c, err := dial(t.Context(), tt.path(t), "b", patience)
			if err == nil {
				defer c.Close()
				_, err = Do(t.Context(), c, &VersionRequest{})
			}
			wantAdvice(t, err, tt.message, tt.next)
		})
	}
	t.Run("a daemon of a PID namespace that isn't visible has no number to kill", func(t *testing.T) {
		err := (&Client{}).lost(t.Context(), os.ErrDeadlineExceeded)
		wantAdvice(t, err, "vigild (process PID) doesn't answer", "Try again. If it was stopped, `kill -CONT PID` resumes it.")
	})
}

// TestAdviceOfTheServer: what a request may meet that has nothing to do with a vault.
func TestAdviceOfTheServer(t *testing.T) {
	status := make(chan func(context.Context) error, maxOfProcess)
	h := &fake{status: func(ctx context.Context, _ *Call) (*StatusReply, error) { return &StatusReply{}, (<-status)(ctx) }}
	path := serve(t, h)
	t.Run("a panic", func(t *testing.T) {
		status <- func(context.Context) error { panic("x") }
		_, err := Do(t.Context(), connect(t, path), &StatusRequest{})
		wantAdvice(t, err, "status: vigild failed inside", "The daemon's log says where; please report it.")
	})
	t.Run("a job that was canceled", func(t *testing.T) {
		status <- func(ctx context.Context) error {
			job, cancel := context.WithCancel(ctx)
			cancel()
			return job.Err()
		}
		_, err := Do(t.Context(), connect(t, path), &StatusRequest{})
		wantAdvice(t, err, "interrupted", "`vigilctl status` shows what state things are in.")
	})
	t.Run("too many requests", func(t *testing.T) {
		begun, ended := make(chan struct{}), make(chan error, maxOfProcess)
		release := make(chan struct{})
		for range maxOfProcess {
			status <- func(context.Context) error { begun <- struct{}{}; <-release; return nil }
			c := connect(t, path)
			go func() { _, err := Do(t.Context(), c, &StatusRequest{}); ended <- err }()
			<-begun
		}
		c := connect(t, path)
		_, err := Do(t.Context(), c, &StatusRequest{})
		wantAdvice(t, err, "vigild is answering as many requests as it does at once, in all or of one program",
			"Try again; `vigilctl lock` and `down` always get through.")
		if _, err := Do(t.Context(), c, &LockRequest{}); err != nil {
			t.Errorf("a lock doesn't get through: %v", err)
		}
		close(release)
		for range maxOfProcess {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a lock before the input", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		ended := make(chan error, 1)
		c := connect(t, path)
		go func() { _, err := Do(t.Context(), c, &UnlockRequest{Passphrase: r}); ended <- err }()
		for locking := connect(t, path); err == nil; { // until one comes after the unlock began to wait
			select {
			case err = <-ended:
			default:
				if _, err := Do(t.Context(), locking, &LockRequest{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantAdvice(t, err, "unlock: locked before its input had come", "Run it again.")
	})
	t.Run("several keys", func(t *testing.T) {
		status <- func(context.Context) error { return Ambiguous("w", []Key{{Name: "work"}, {Name: "web"}}) }
		_, err := Do(t.Context(), connect(t, path), &StatusRequest{})
		wantAdvice(t, err, `"w" matches 2 keys`, "Name one of them by its id or its SHA256 fingerprint.")
	})
}
