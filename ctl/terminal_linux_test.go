package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"vigil/internal/control"
)

func TestAPromptDoesNotShowWhatIsTyped(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultLocked)
	const prompt = "Passphrase of vault default: "
	wait := p.answer(prompt, "wrong one", prompt, "correct horse")
	b.ok("unlock")
	wait()
	if strings.Contains(p.shown(), "wrong one") || strings.Contains(p.shown(), "correct") {
		t.Errorf("the terminal shows %q", p.shown())
	}
	if !p.echoes() {
		t.Error("the echo is off afterwards")
	}
}

func TestAWrongPassphraseMayBeTypedThreeTimes(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultLocked)
	const prompt = "Passphrase of vault default: "
	wait := p.answer(prompt, "one", prompt, "two", prompt, "three")
	b.fails(4, "wrong passphrase", "unlock")
	wait()
}

func TestANewPassphraseIsTypedTwiceAlike(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultMissing)
	const prompt, again = "New passphrase for vault default: ", "The same again: "
	wait := p.answer(prompt, "", prompt, "one", again, "two", prompt, "pass wörd", again, "pass wörd")
	b.ok("init")
	wait()
	if got := b.seen("passphrase"); got != "pass wörd" {
		t.Errorf("the daemon read %q", got)
	}
	for _, want := range []string{"protects nothing", "The passphrases differ"} {
		if !strings.Contains(p.shown(), want) {
			t.Errorf("the terminal doesn't show %q", want)
		}
	}
}

// TestANewPassphraseOfUnknownStrength: without vigil-meter beside vigild it is taken as it is.
func TestANewPassphraseOfUnknownStrength(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultMissing)
	b.daemon.mu.Lock()
	b.daemon.guess = control.KDF{MemoryMiB: 256, Time: 3}
	b.daemon.mu.Unlock()
	const prompt, again = "New passphrase for vault default: ", "The same again (empty: choose another): "
	wait := p.answer(prompt, "one", again, "", prompt, "two", again, "", prompt, "three", again, "three")
	b.ok("init")
	wait()
	if got := b.seen("passphrase"); got != "three" || strings.Count(p.shown(), "Its strength isn't known: ") != 3 {
		t.Errorf("the daemon read %q, the terminal shows %q", got, p.shown())
	}
}

func TestAnInterruptedPromptRestoresTheTerminal(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultLocked)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		p.expect("Passphrase of vault default: ")
		if p.echoes() {
			t.Error("the echo is on while a passphrase is typed")
		}
		cancel() // as main's signal handling does
	}()
	r := b.runContext(ctx, "unlock")
	if r.status != 1 || !strings.Contains(r.errors, "interrupted") {
		t.Errorf("exit status %d, %s", r.status, r.errors)
	}
	if !p.echoes() {
		t.Error("the echo stays off")
	}
}

func TestEndOfFileAtAPrompt(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultLocked)
	go func() { p.expect("Passphrase of vault default: "); p.write("\x04") }()
	b.fails(1, "no answer was given", "unlock")
}

func TestAPassphraseThatIsTooLong(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.daemon.become(control.VaultLocked)
	go func() {
		p.expect("Passphrase of vault default: ")
		p.write(strings.Repeat("x", maxPassphrase+1) + "\n")
	}()
	b.fails(2, "at most 512 bytes", "unlock")
}

func TestRemovalIsConfirmed(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.ok("generate", "laptop")
	b.ok("generate", "phone")
	const question = "Permanently remove this key? [y/N] "
	by := []string{"rm", "laptop", "--passphrase-file", b.file("pass", "correct horse")}
	wait := p.answer(question, "n", question, "", question, "yes")
	b.fails(1, "nothing was removed", by...)
	b.fails(1, "nothing was removed", by...)
	b.ok(by...)
	wait()
	byTheShownID(t, b)

	// The passphrase is asked for once, and answers both.
	wait = p.answer("(ED25519).\r\nPassphrase of the vault: ", "guess", "Passphrase of the vault: ", "correct horse")
	b.ok("rm", "phone")
	wait()
	byTheShownID(t, b)
}

func byTheShownID(t *testing.T, b *bench) {
	t.Helper()
	if r := b.last().(*control.RemoveRequest); len(r.Key) != 22 {
		t.Errorf("removed by %q, want the id that was shown", r.Key)
	}
}

// TestEditSaysWhatItLoosens: the change that was asked about is the one that is made.
func TestEditSaysWhatItLoosens(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.ok("generate", "laptop")
	wait := p.answer("This change of key \"laptop\" lets it do more: confirm is lifted.\r\nPassphrase of the vault: ", "guess", "Passphrase of the vault: ", "correct horse")
	b.ok("edit", "laptop", "--confirm=false")
	wait()
	if r := b.last().(*control.EditRequest); r.Change != "c1" {
		t.Errorf("it sent change %q, want the one that was asked about", r.Change)
	}
}

func TestExportAsksForBothPassphrases(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.ok("generate", "laptop")
	wait := p.answer(
		"Passphrase of the vault: ", "wrong",
		"New passphrase for the file: ", "new", "The same again: ", "new",
		"Passphrase of the vault: ", "correct horse", // the new one isn't asked for again
	)
	b.ok("export", "laptop", "--output", b.home+"/out")
	wait()
	if got := b.seen("new_passphrase"); got != "new" {
		t.Errorf("the daemon read %q", got)
	}
}

func TestAnImportedFilesPassphraseIsAskedForWhenNeeded(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	path := b.file("id_a", "fake key protected")
	prompt := fmt.Sprintf("Passphrase of %s: ", path)
	wait := p.answer(prompt, "wrong", prompt, "let me in")
	b.ok("add", path)
	wait()
}

func TestUpFirstRunOnATerminal(t *testing.T) {
	b, p := newBench(t).withPTY()
	for _, name := range []string{"id_a", "id_b", "id_c"} {
		b.file(".ssh/"+name, "-----BEGIN RSA PRIVATE KEY-----\nfake")
	}
	wait := p.answer(
		"New passphrase for vault default: ", "p", "The same again: ", "p",
		"Import which? all, none (a new key is made), or numbers [all]: ", "4",
		"from 1 to 3\r\nImport which? all, none (a new key is made), or numbers [all]: ", "1, 3",
	)
	r := b.ok("up")
	wait()
	if r.out != b.exportLine() {
		t.Errorf("standard output: %q", r.out)
	}
	if got := b.names(); !slices.Equal(got, []string{"id_a", "id_c"}) {
		t.Errorf("keys: %q", got)
	}
	shown := len(p.shown())
	b.ok("up")
	if more := p.shown()[shown:]; more != "" {
		t.Errorf("unlocked, it shows %q", more)
	}
	b.ok("lock")
	wait = p.answer("Passphrase of vault default: ", "p")
	b.ok("up")
	wait()
}

func TestTheDaemonsQuestionsAreAskedOnTheTerminal(t *testing.T) {
	b, p := newBench(t).withPTY()
	a := &app{tty: b.tty}
	wait := p.answer("MFA code: ", " 123456 ")
	text, err := a.answer(t.Context(), control.Ask{Message: "MFA code"})
	if err != nil || text.Text != "123456" {
		t.Errorf("%+v, %v", text, err)
	}
	wait()
	a.tty = "/nonexistent"
	_, err = a.answer(t.Context(), control.Ask{Message: "MFA code"})
	if e := control.AsError(err); e.Code != control.CodeRefused || e.Message != "there is nobody to ask: MFA code" || e.Next != "Run it on a terminal." {
		t.Errorf("without a terminal: %+v", e)
	}
}

func TestSecretsPrintAsRedacted(t *testing.T) {
	s := &secret{b: []byte("hunter2")}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, s); strings.Contains(got, "hunter") || !strings.Contains(got, "redacted") {
			t.Errorf("%s prints %s", format, got)
		}
	}
	s.wipe()
	if string(s.b) != strings.Repeat("\x00", 7) {
		t.Error("it isn't wiped")
	}
}

// TestTwoTerminalsAskOnce: the second waits for the first. If that gives up, and stops the
// daemon that it started, the second goes on as if it were alone.
func TestTwoTerminalsAskOnce(t *testing.T) {
	first, p := newBench(t).withPTY()
	first.ok("up", "--passphrase-file", first.file("pass", "correct horse"))
	first.ok("down")
	other := *first
	second, q := other.withPTY()

	ctx, giveUp := context.WithCancel(t.Context())
	gaveUp, ended := make(chan result, 1), make(chan int, 1)
	go func() { gaveUp <- first.runContext(ctx, "up") }()
	p.expect("Passphrase of vault default: ")
	said, errs := io.Pipe()
	go func() {
		defer errs.Close()
		ended <- second.app(io.Discard, errs).run(t.Context(), []string{"up"})
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.Contains(line, "Another terminal asks") {
		t.Errorf("the second says %q, %v", line, err)
	}
	go io.Copy(io.Discard, said)
	if strings.Contains(q.shown(), "Passphrase") {
		t.Error("both ask")
	}
	giveUp()
	if r := <-gaveUp; r.status != 1 || !strings.Contains(r.errors, "interrupted") {
		t.Errorf("the first: exit status %d, %s", r.status, r.errors)
	}
	wait := q.answer("Passphrase of vault default: ", "correct horse")
	if status := <-ended; status != 0 {
		t.Errorf("the second: exit status %d; its terminal shows %q", status, q.shown())
	}
	wait()
	second.ok("list")
}
