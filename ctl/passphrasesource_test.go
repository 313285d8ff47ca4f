package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vigil/internal/control"
)

func TestAFileWithThePassphraseIsPassedOnUnread(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.become(control.VaultLocked)
	passphrase := strings.Repeat("long ", 1<<18) // a pipe holds 64 KiB
	b.daemon.mu.Lock()
	b.daemon.passphrase = passphrase
	b.daemon.mu.Unlock()
	t.Run("file", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		b.ok("unlock", "--passphrase-file", b.file("pass", passphrase+"\n"))
	})
	t.Run("descriptor that is a pipe", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() { defer w.Close(); _, _ = io.WriteString(w, passphrase) }()
		b.ok("unlock", "--passphrase-fd", itoa(r.Fd()))
	})
	t.Run("standard input", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		f, err := os.Open(filepath.Join(b.home, "pass"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		before := b.stdin
		b.stdin = f
		b.ok("unlock", "--passphrase-file", "-")
		b.stdin = before
	})
	t.Run("nobody reads it when the daemon doesn't", func(t *testing.T) {
		b.daemon.become(control.VaultLocked)
		b.daemon.failWith(&control.UnlockRequest{}, control.Errorf(control.CodeRevoked, "", "revoked"))
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.WriteString(w, "untouched"); err != nil {
			t.Fatal(err)
		}
		w.Close()
		b.fails(7, "revoked", "unlock", "--passphrase-fd", itoa(r.Fd()))
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "untouched" {
			t.Errorf("left in the pipe: %q, %v", rest, err)
		}
	})
}

func itoa(fd uintptr) string { return strconv.Itoa(int(fd)) }

func TestPassphraseSourcesThatCannotBe(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.become(control.VaultLocked)
	b.fails(2, "there is no terminal to ask for the vault's passphrase", "unlock")
	b.fails(2, "descriptor 987", "unlock", "--passphrase-fd", "987")
	b.fails(2, "no such file", "unlock", "--passphrase-file", "/nonexistent/pass")
	out, err := os.Create(filepath.Join(b.home, "writable"))
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
	w, err := os.OpenFile(out.Name(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b.fails(2, "not open for reading", "unlock", "--passphrase-fd", itoa(w.Fd()))
	if b.daemon.is() != control.VaultLocked {
		t.Error("it was unlocked")
	}
}
