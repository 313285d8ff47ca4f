package asking

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"vigil/internal/testing/logindfake"
	"vigil/internal/testing/sshtest"
)

// A sleep ends the prompt: what is typed after it, by whoever opens the lid, unlocks
// nothing that was asked for before.
func TestASleepClosesThePrompt(t *testing.T) {
	bus := logindfake.NewBus(t)
	login := bus.Logind()
	login.Open("1", uint32(os.Getuid()))
	p := newPerson(t, "", func(h *sshtest.Home) []string { return append(byAskpass(h), bus.Environ()...) })
	held := func(want int) {
		t.Helper()
		sshtest.Eventually(t, "inhibitors", func() error {
			if n := login.Held(); n != want {
				return fmt.Errorf("%d are held, want %d", n, want)
			}
			return nil
		})
	}
	held(1)
	answer := p.held()
	refused := make(chan error, 1)
	go func() { refused <- loggedIn(p.ssh()) }()
	p.waitFor(1)
	p.stopAskers()
	login.PrepareForSleep(true)
	held(0)
	if left := p.askers(); len(left) > 0 {
		t.Errorf("the machine may sleep, and what was typed may still be in %v", left)
	}
	if err := <-refused; err == nil {
		t.Error("a login was let in by a sleep")
	}
	if reason, _ := p.why(); !strings.HasSuffix(reason, "the vault was locked while someone was asked") {
		t.Errorf("refused: %s", reason)
	}
	login.PrepareForSleep(false)
	held(1)
	answer()
	if out := p.OK("status").Out; strings.Contains(out, "unlocked default") {
		t.Errorf("it is unlocked: %s", out)
	}
}
