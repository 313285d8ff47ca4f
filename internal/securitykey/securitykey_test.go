package securitykey

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/skhelper"
)

// helper writes a program that stands in for ssh-sk-helper. Only root's are started.
func helper(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root has programs that belong to root")
	}
	path := filepath.Join(t.TempDir(), "ssh-sk-helper")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	h := &Helper{places: []string{"/nonexistent/ssh-sk-helper", helper(t, "env | sort; read line; echo \"$line\"; pwd", 0o755)}}
	t.Setenv("SSH_SK_HELPER", "/bin/false")
	for range 2 { // the first one leaves nothing that the second would wait for
		var said []byte
		err := h.Run(t.Context(), func(conversation *os.File) error {
			_, err := conversation.Write([]byte("hello\n"))
			if err == nil {
				said, err = io.ReadAll(conversation)
			}
			return err
		})
		if err != nil || !bytes.HasSuffix(said, []byte("hello\n/\n")) || bytes.Contains(said, []byte("SSH_SK")) {
			t.Fatalf("it said %q, %v", said, err)
		}
	}
}

// TestTheEndOfTheRequestEndsTheWait, at once, also if a process that the helper started
// keeps its conversation.
func TestTheEndOfTheRequestEndsTheWait(t *testing.T) {
	for name, text := range map[string]string{
		"the helper":       "echo started; exec sleep 600",
		"one that it left": "sleep 600 & echo $!; echo started; exec sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			h := New(helper(t, text, 0o755))
			ctx, cancel := context.WithCancelCause(t.Context())
			gone := errors.New("the client went away")
			err := h.Run(ctx, func(conversation *os.File) error {
				r := bufio.NewReader(conversation)
				line, err := r.ReadString('\n')
				if pid, no := strconv.Atoi(strings.TrimSpace(line)); no == nil {
					t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
					line, err = r.ReadString('\n')
				}
				if err != nil || line != "started\n" {
					t.Errorf("it said %q, %v", line, err)
				}
				cancel(gone)
				_, err = r.ReadByte()
				return err
			})
			if !errors.Is(err, gone) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestAHelperThatOthersCanChangeIsNotStarted(t *testing.T) {
	owned := helper(t, "", 0o755)
	for name, path := range map[string]string{
		"others may write to it": helper(t, "", 0o757),
		"the group may":          helper(t, "", 0o775),
		"somebody's": func() string {
			path := helper(t, "", 0o755)
			if err := os.Chown(path, 1, 0); err != nil {
				t.Fatal(err)
			}
			return path
		}(),
		"in somebody's folder": func() string {
			path := helper(t, "", 0o755)
			if err := os.Chown(filepath.Dir(path), 1, 0); err != nil {
				t.Fatal(err)
			}
			return path
		}(),
		"a link": func() string {
			path := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(owned, path); err != nil {
				t.Fatal(err)
			}
			return path
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			// A good one behind it isn't used in its place.
			err := (&Helper{places: []string{path, owned}}).Run(t.Context(), func(*os.File) error { panic("started") })
			if err == nil || !strings.Contains(err.Error(), filepath.Dir(path)) || name != "a link" && Next(err) != "Install OpenSSH's package again." {
				t.Fatalf("got %v, next %q", err, Next(err))
			}
		})
	}
	if _, err := Provider(owned, DefaultProviders, false); Next(err) != "Put it into a folder of the system's libraries." {
		t.Errorf("a provider of one's own: %v, next %q", err, Next(err))
	}
	const nowhere = "/nonexistent/ssh-sk-helper"
	for name, tt := range map[string]struct {
		h    *Helper
		want string
	}{
		"not installed":         {&Helper{places: []string{nowhere}}, install},
		"configured, not there": {New(nowhere), "Correct the path or remove it, and restart vigild."},
	} {
		err := tt.h.Run(t.Context(), func(*os.File) error { panic("started") })
		if Next(err) != tt.want {
			t.Errorf("%s: %v, next %q", name, err, Next(err))
		}
	}
}

func TestProvider(t *testing.T) {
	mine := helper(t, "", 0o755)
	for _, tt := range []struct {
		named  string
		remote bool
		want   string // or what the error says
		fails  bool
	}{
		{"", true, "internal", false},
		{"internal", true, "internal", false},
		{mine, false, "isn't in one of", true},
		{"/usr/lib/../../" + mine, false, "isn't in one of", true},
		{"libfido2.so", false, "absolute path", true},
		{"/usr/lib/nothing.so", false, "isn't there", true},
		{"/usr/lib/../lib/nothing.so", false, "isn't there", true},
		{mine, true, "forwarded agent", true},
	} {
		got, err := Provider(tt.named, DefaultProviders, tt.remote)
		if tt.fails != (err != nil) || err == nil && got != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, remote %v: %q, %v", tt.named, tt.remote, got, err)
		}
	}
}

func TestAllowedProviders(t *testing.T) {
	mine := helper(t, "", 0o755)
	dir := filepath.Dir(mine)
	for list, allowed := range map[string]bool{
		dir + "/*":                    true,
		"/usr/lib/*,/*":               true,
		"/usr/lib/*,/usr/local/*":     false,
		"!" + mine + "," + dir + "/*": false,
		dir + "/*,!" + mine:           false,
		dir + "/*,!/usr/lib/*":        true,
		"!/usr/lib/*":                 false,
		"":                            false,
	} {
		if got, err := Provider(mine, list, false); (err == nil) != allowed || err == nil && got != mine {
			t.Errorf("%q: %q, %v; allowed is %v", list, got, err, allowed)
		}
		if got, err := Provider(skhelper.Internal, list, false); err != nil || got != skhelper.Internal {
			t.Errorf("%q: OpenSSH's own is %q, %v", list, got, err)
		}
	}
}
