package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyfile"
	"vigil/internal/wire"
)

// memlockVariable makes a test's keeper lower its lock limit to a number of bytes,
// and continue as a user whom the limit binds.
const memlockVariable = "VIGIL_TEST_MEMLOCK"

// TestMain also runs this binary as a keeper, or as a front with one.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == keeper.Role:
		if err := bindLockLimit(); err != nil {
			os.Exit(3)
		}
		os.Exit(Main(os.Args[2:]))
	case len(os.Args) > 1 && os.Args[1] == frontRole:
		os.Exit(beFront(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func bindLockLimit() error {
	limit := os.Getenv(memlockVariable)
	if limit == "" {
		return nil
	}
	n, err := strconv.ParseUint(limit, 10, 64)
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: n, Max: n}); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		const nobody = 65534
		return syscall.Setuid(nobody) // real, effective and saved, as root
	}
	return nil
}

// exe returns this binary, to start a keeper with.
func exe(t testing.TB) string {
	t.Helper()
	if raceBuild {
		// Otherwise the race detector sleeps for a second at the end of the process.
		return script(t, "GORACE=atexit_sleep_ms=0")
	}
	return selfPath(t)
}

func selfPath(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// script returns a script that runs this binary with variables in its environment,
// which a keeper otherwise lacks.
func script(t testing.TB, variables string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vigild")
	text := fmt.Sprintf("#!/bin/sh\n%s exec '%s' \"$@\"\n", variables, selfPath(t))
	// A child forked meanwhile would hold the file open for writing, and so keep it from
	// being run ("text file busy").
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func start(t testing.TB, vault id.Vault) *keeper.Client {
	t.Helper()
	return startAs(t, keeper.Options{Exe: exe(t), Vault: vault})
}

func startAs(t testing.TB, o keeper.Options) *keeper.Client {
	t.Helper()
	c, err := keeper.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// startSmall starts a keeper whose lock limit allows limit bytes of guarded memory.
func startSmall(t testing.TB, vault id.Vault, limit int) *keeper.Client {
	t.Helper()
	return startAs(t, smallOptions(t, vault, limit))
}

func smallOptions(t testing.TB, vault id.Vault, limit int) keeper.Options {
	t.Helper()
	return keeper.Options{Exe: script(t, fmt.Sprintf("GORACE=atexit_sleep_ms=0 %s=%d", memlockVariable, limit)), Vault: vault}
}

// sample is a private key encoded as in an agent's add message.
type sample struct {
	name     string
	encoding []byte // without the comment
	public   []byte
	flags    []uint32 // of the signatures it can make
}

func generate(t testing.TB, kind string, bits int) sample {
	t.Helper()
	k, err := keyfile.Generate(kind, bits, "")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	s := sample{name: k.Type(), encoding: bytes.Clone(k.Encoding()), public: k.Public(), flags: []uint32{0}}
	if kind == keyfile.KindRSA {
		s.flags = []uint32{2, 4}
	}
	return s
}

func ed25519Key(t testing.TB) sample { t.Helper(); return generate(t, keyfile.KindEd25519, 0) }

// samples are keys of every type.
func samples(t testing.TB) []sample {
	t.Helper()
	return []sample{
		ed25519Key(t),
		generate(t, keyfile.KindECDSA, 256), generate(t, keyfile.KindECDSA, 384), generate(t, keyfile.KindECDSA, 521),
		generate(t, keyfile.KindRSA, 2048), generate(t, keyfile.KindRSA, 3072),
		generate(t, keyfile.KindComposite, 0),
	}
}

// guarded copies b into guarded memory, where the front has a message's body.
func guarded(t testing.TB, b []byte) *guard.Buffer {
	t.Helper()
	slab, err := guard.NewSlab(len(b) + 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slab.Close() })
	buf, err := slab.Alloc(len(b))
	if err != nil {
		t.Fatal(err)
	}
	copy(buf.Bytes(), b)
	return buf
}

func addBody(s sample, comment string) []byte {
	return wire.AppendString(bytes.Clone(s.encoding), comment)
}

func add(t testing.TB, c *keeper.Client, s sample) keeper.Added {
	t.Helper()
	a, err := c.Add(t.Context(), guarded(t, addBody(s, "comment")), false)
	if err != nil {
		t.Fatalf("add %s: %v", s.name, err)
	}
	return a
}

// addFor adds a key with a lifetime in seconds.
func addFor(t testing.TB, c *keeper.Client, s sample, seconds uint32) keeper.Added {
	t.Helper()
	a, err := c.Add(t.Context(), guarded(t, wire.AppendUint32(append(addBody(s, "comment"), 1), seconds)), true)
	if err != nil {
		t.Fatalf("add %s: %v", s.name, err)
	}
	return a
}

func sign(t testing.TB, c *keeper.Client, key uint64) error {
	t.Helper()
	_, err := c.Sign(t.Context(), key, []byte("data"), 0, nil)
	return err
}

// verify checks a signature with x/crypto/ssh. Of composite keys, which that doesn't
// know, it checks only the framing.
func verify(public, data, sig []byte) error {
	var s ssh.Signature
	if err := ssh.Unmarshal(sig, &s); err != nil {
		return fmt.Errorf("signature blob: %w", err)
	}
	key, err := ssh.ParsePublicKey(public)
	if err != nil {
		r := wire.NewReader(public)
		if typ := string(r.String()); typ != s.Format || len(s.Blob) != 2420+64 {
			return fmt.Errorf("signature of %s: %q with %d bytes", typ, s.Format, len(s.Blob))
		}
		return nil
	}
	return key.Verify(data, &s)
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
