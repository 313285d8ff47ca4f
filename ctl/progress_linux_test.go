package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"vigil/internal/control"
)

// longVerify makes the daemon's check report two steps of three, each when it may go on.
func (b *bench) longVerify(step <-chan struct{}) {
	b.daemon.mu.Lock()
	defer b.daemon.mu.Unlock()
	b.daemon.verify = func(r *control.VerifyRequest) {
		for done := 1; done < 3; done++ {
			r.Report(done, 3)
			<-step
		}
	}
}

// TestProgressIsALineThatIsDrawnAgainAndErased, on a terminal.
func TestProgressIsALineThatIsDrawnAgainAndErased(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.environ = append(b.environ, "TERM=xterm")
	step := make(chan struct{})
	b.longVerify(step)
	ended := make(chan int, 1)
	go func() { ended <- b.app(io.Discard, p.slave).run(t.Context(), []string{"vault", "verify"}) }()
	for _, want := range []string{"checking revisions: 1 of 3", "checking revisions: 2 of 3"} {
		p.expect(eraseLine + want)
		step <- struct{}{}
	}
	if status := <-ended; status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.expect(eraseLine)
	if shown := p.shown(); !strings.HasSuffix(shown, "2 of 3"+eraseLine) {
		t.Errorf("the terminal shows %q", shown)
	}
}

// TestImportsAreCounted: the line gives way to what is said of each key, and comes again.
func TestImportsAreCounted(t *testing.T) {
	b, p := newBench(t).withDaemon().withPTY()
	b.environ = append(b.environ, "TERM=xterm")
	b.file(".ssh/id_a", "-----BEGIN RSA PRIVATE KEY-----\nfake")
	b.file(".ssh/id_b", "-----BEGIN RSA PRIVATE KEY-----\nfake")
	if status := b.app(io.Discard, p.slave).run(t.Context(), []string{"up", "--import", "all"}); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.expect(eraseLine + "importing keys: 0 of 2" + eraseLine + "imported ")
	p.expect(eraseLine + "importing keys: 1 of 2" + eraseLine + "imported ")
}

// TestNoProgress: work that is over soon, another kind of output, or no terminal.
func TestNoProgress(t *testing.T) {
	for name, tc := range map[string]struct {
		term     string
		patience time.Duration
		args     []string
	}{
		"soon over":       {"xterm", time.Hour, []string{"vault", "verify"}},
		"JSON":            {"xterm", 0, []string{"vault", "verify", "--json"}},
		"a dumb terminal": {"dumb", 0, []string{"vault", "verify"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, p := newBench(t).withDaemon().withPTY()
			b.environ = append(b.environ, "TERM="+tc.term)
			b.longVerify(closed())
			a := b.app(io.Discard, p.slave)
			a.patience = tc.patience
			if status := a.run(context.Background(), tc.args); status != 0 {
				t.Errorf("exit status %d", status)
			}
			if shown := p.shown(); shown != "" {
				t.Errorf("the terminal shows %q", shown)
			}
		})
	}
	b := newBench(t).withDaemon()
	b.environ = append(b.environ, "TERM=xterm")
	b.longVerify(closed())
	if r := b.ok("vault", "verify"); r.errors != "" {
		t.Errorf("in a pipe: %q", r.errors)
	}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
