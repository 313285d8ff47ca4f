package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigil/internal/control"
)

// shows runs vigilctl, which must fail with a message and say what to do next.
func (b *bench) shows(status int, message, next string, args ...string) {
	b.Helper()
	b.fails(status, message, args...)
	b.fails(status, next, args...)
}

// TestAStateFolderThatCannotBe: a file is where it should be.
func TestAStateFolderThatCannotBe(t *testing.T) {
	const next = "Move what is in its way, make the folder above it writable, or set XDG_STATE_HOME."
	b, _ := newBench(t).withPTY()
	b.file(mustRel(t, b.home, b.paths.State), "")
	b.shows(1, "make the state folder: ", next, "up")
	b.withDaemon().daemon.become(control.VaultMissing)
	b.shows(1, "begin the set-up: ", next, "up")
}

func mustRel(t *testing.T, base, path string) string {
	t.Helper()
	rel, err := filepath.Rel(base, path)
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

// TestAMarkThatStays: the first run is over, and its mark can't be removed.
func TestAMarkThatStays(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.has("laptop", "")
	b.file(mustRel(t, b.home, filepath.Join(b.paths.State, "setup-default", "x")), "")
	b.shows(1, "end the set-up: ", "Remove it by hand.", "up", "--import", "none")
}

// TestADaemonThatDoesNotEnd: it promised to, and still serves when the time is over.
func TestADaemonThatDoesNotEnd(t *testing.T) {
	b := newBench(t).withDaemon()
	for _, text := range []string{"vigild has not ended within 15s", "`vigilctl status` shows its pid; end it with kill."} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		r := b.runContext(ctx, "down")
		cancel()
		if r.status != 1 || !strings.Contains(r.errors, text) {
			t.Errorf("%+v, want %q", r, text)
		}
	}
}

// TestAKeyThatCannotSignForGit is named with why.
func TestAKeyThatCannotSignForGit(t *testing.T) {
	b := newBench(t).withDaemon()
	b.file(".gitconfig", "[user]\n\temail = test@example.com\n")
	k := b.daemon.has("laptop", "")
	b.daemon.mu.Lock()
	b.daemon.keys[0].Destinations = []string{"git@example.com"}
	b.daemon.mu.Unlock()
	b.shows(1, k.Name+" can't sign for git: it is restricted to logins at git@example.com", "Name another key.", "git-signing", "--global", "laptop")
}

// TestARequestThatFillsTheDisk: the identity is there by then.
func TestARequestThatFillsTheDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	e := control.AsError(publicFile{full}.finish(&control.IdentityRequestReply{Text: "vigil-request"}, nil))
	if e.Message != "write the request: write /dev/full: no space left on device" ||
		e.Next != "The identity is made. Make room, and run it again with --replace." {
		t.Errorf("%+v", e)
	}
}

func TestStandardInputThatIsATerminal(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultLocked)
	b.stdin = p.slave
	b.shows(2, "--passphrase-file -: standard input is a terminal", "Leave the flag out to be asked without an echo.", "unlock", "--passphrase-file", "-")
}

func TestStandardOutputThatIsNoFile(t *testing.T) {
	b := newBench(t).withDaemon()
	b.daemon.has("laptop", "")
	pass := b.file("pass", "correct horse\n")
	b.shows(1, "standard output can't be passed on", "Give --output a file.", "export", "laptop", "--output", "-", "--no-passphrase", "--passphrase-file", pass)
}

// TestPassphrasesThatAlwaysDiffer end the command, and nothing was made.
func TestPassphrasesThatAlwaysDiffer(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultMissing)
	const prompt, again = "New passphrase for vault default: ", "The same again: "
	for _, text := range []string{"no passphrase was set", "Start again. Nothing was changed."} {
		wait := p.answer(prompt, "one", again, "two", prompt, "one", again, "two", prompt, "one", again, "two")
		b.fails(1, text, "init")
		wait()
	}
	if b.daemon.is() != control.VaultMissing {
		t.Error("a vault was made")
	}
}

// has makes a key that a test has the daemon start with.
func (d *fakeDaemon) has(name, comment string) control.Key {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keep(name, comment)
}
