package asking

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"vigil/internal/checkup"
	"vigil/internal/testing/sshtest"
)

// held makes prompts wait until the returned function is called.
func (p *person) held() (answer func(...string)) {
	p.Write("wait", "")
	return func(lines ...string) {
		p.Helper()
		if len(lines) > 0 {
			p.answers(lines...)
		}
		if err := os.Remove(p.Path("wait")); err != nil {
			p.Fatal(err)
		}
	}
}

func TestTwentyLoginsMakeOnePrompt(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	answer := p.held()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := loggedIn(p.ssh()); err != nil {
				t.Error(err)
			}
		})
	}
	p.waitFor(1)
	p.waiting(20)
	answer(passphrase)
	all.Wait()
	if asked := p.asked(); len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
	p.noAskers()
}

// waiting waits until so many signatures wait for the prompt.
func (p *person) waiting(n int) {
	p.Helper()
	want := fmt.Sprintf("asking   for the passphrase, for %s\n", checkup.Count(n, "signature"))
	sshtest.Eventually(p, "signatures", func() error {
		if out := p.OK("status").Out; !strings.Contains(out, want) {
			return fmt.Errorf("status says:\n%s", out)
		}
		return nil
	})
}

// A client that is interrupted leaves the prompt to the other; the last one's end closes it.
func TestInterruptedClientsLeaveThePrompt(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	answer := p.held()
	start := func() *exec.Cmd {
		cmd := p.ssh()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	interrupt := func(cmd *exec.Cmd) {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	first, second := start(), start()
	p.waitFor(1)
	p.waiting(2)
	interrupt(first)
	if reason, _ := p.nextRefusal(); reason != "the client went away before anybody answered" {
		t.Errorf("refused: %s", reason)
	}
	if len(p.askers()) != 1 {
		t.Error("the prompt is closed under the other client")
	}
	interrupt(second)
	left := time.Now()
	p.noAskers()
	if lingered := time.Since(left); lingered < 8*time.Second {
		t.Errorf("the prompt closed %v after the last client had gone", lingered)
	}
	if asked := p.asked(); len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
	answer()
}

// nextRefusal waits until something was refused.
func (p *person) nextRefusal() (reason, next string) {
	p.Helper()
	sshtest.Eventually(p, "a refusal", func() error {
		if out := p.OK("why").Out; !strings.Contains(out, "sign") {
			return fmt.Errorf("there is none: %s", out)
		}
		return nil
	})
	return p.why()
}

// A lock closes the prompt; an unlock elsewhere answers it.
func TestWhatIsDoneElsewhereEndsThePrompt(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	answer := p.held()
	refused := make(chan error, 1)
	go func() { refused <- loggedIn(p.ssh()) }()
	p.waitFor(1)
	p.stopAskers()
	p.OK("lock")
	if left := p.askers(); len(left) > 0 {
		t.Errorf("locked, and what was typed may still be in %v", left)
	}
	if err := <-refused; err == nil {
		t.Error("a login was let in by a lock")
	}
	if reason, _ := p.why(); !strings.HasSuffix(reason, "the vault was locked while someone was asked") {
		t.Errorf("refused: %s", reason)
	}
	in := make(chan error, 1)
	go func() { in <- loggedIn(p.ssh()) }()
	p.waitFor(2)
	p.Unlock()
	if err := <-in; err != nil {
		t.Error(err)
	}
	p.noAskers()
	answer()
}

// The daemon's end closes the prompt.
func TestNoPromptOutlivesTheDaemon(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	answer := p.held()
	refused := make(chan error, 1)
	go func() { refused <- loggedIn(p.ssh()) }()
	p.waitFor(1)
	p.OK("down")
	if err := <-refused; err == nil {
		t.Error("a login was let in by the daemon's end")
	}
	p.noAskers()
	answer()
}
