package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/control"
	"vigil/internal/paths"
	"vigil/internal/unixsock"
)

// bench is a temporary home in which a test runs vigilctl.
type bench struct {
	*testing.T
	home    string
	paths   paths.Paths
	environ []string
	tty     string
	goos    string
	stdin   *os.File
	stdout  *os.File // when the test wants a file
	vigild  string
	daemon  *fakeDaemon // served in this process; nil when none is, or vigilctl starts one
}

func newBench(t *testing.T) *bench {
	t.Helper()
	home := t.TempDir()
	b := &bench{
		T: t, home: home, tty: "/nonexistent/tty", vigild: os.Args[0],
		environ: []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + filepath.Join(home, "run"), "SHELL=/bin/bash", fakeVariable + "=serves"},
	}
	var err error
	if b.paths, err = paths.FromEnviron(b.environ); err != nil {
		t.Fatal(err)
	}
	if b.stdin, err = os.Open(os.DevNull); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.stdin.Close()
		b.killDaemon()
	})
	return b
}

// killDaemon ends a daemon that vigilctl started.
func (b *bench) killDaemon() {
	text, err := os.ReadFile(filepath.Join(b.paths.State, "pid"))
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(string(text)); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}
}

// withDaemon serves a fake daemon with an unlocked vault in this process.
func (b *bench) withDaemon() *bench {
	b.Helper()
	l, err := unixsock.Listen(b.paths.ControlSocket(), unixsock.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.daemon = newFakeDaemon(b.paths)
	b.daemon.state, b.daemon.passphrase = control.VaultUnlocked, "correct horse"
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	s := newServer(b.daemon, "")
	go func() { ended <- s.Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return b
}

// result is how a run ended.
type result struct {
	status      int
	out, errors string
}

// run runs vigilctl in this process.
func (b *bench) run(args ...string) result { return b.runContext(b.Context(), args...) }

func (b *bench) runContext(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	status := b.app(&out, &errs).run(ctx, args)
	return result{status, out.String(), errs.String()}
}

func (b *bench) app(out, errs io.Writer) *app {
	if b.stdout != nil {
		out = b.stdout
	}
	return &app{
		stdin: b.stdin, stdout: out, stderr: errs, environ: b.environ, tty: b.tty, goos: b.goos,
		vigild: func() (string, error) { return b.vigild, nil },
	}
}

// ok runs vigilctl and fails the test unless it exits with 0.
func (b *bench) ok(args ...string) result {
	b.Helper()
	r := b.run(args...)
	if r.status != 0 {
		b.Fatalf("vigilctl %s: exit status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.errors)
	}
	return r
}

// fails runs vigilctl and fails the test unless it exits with status and prints text.
func (b *bench) fails(status int, text string, args ...string) result {
	b.Helper()
	r := b.run(args...)
	if r.status != status || !strings.Contains(r.errors, text) {
		b.Fatalf("vigilctl %s: exit status %d, want %d with %q\n%s%s", strings.Join(args, " "), r.status, status, text, r.out, r.errors)
	}
	return r
}

// file makes a file in the bench's home.
func (b *bench) file(name, content string) string {
	b.Helper()
	path := filepath.Join(b.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// last is the newest request that the in-process daemon saw.
func (b *bench) last() any {
	b.daemon.mu.Lock()
	defer b.daemon.mu.Unlock()
	return b.daemon.requests[len(b.daemon.requests)-1]
}

// seen is what the last file called name held.
func (b *bench) seen(name string) string {
	b.daemon.mu.Lock()
	defer b.daemon.mu.Unlock()
	return b.daemon.files[name]
}
