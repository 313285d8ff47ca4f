package main

import (
	"context"
	"io"
	"os"
	"time"

	"vigil/internal/control"
)

const (
	// progressAfter is how long work takes before its progress is shown.
	progressAfter = 500 * time.Millisecond
	// eraseLine goes to the beginning of a terminal's line and erases it (ECMA-48: EL).
	eraseLine = "\r\x1b[K"
)

// progress is a line on the terminal that says how much of long work is done, as long as
// it takes. Anything else that is shown there clears it first.
type progress struct {
	app  *app
	what string
	from time.Time // when it is shown
	w    io.Writer // nil: never
}

// newProgress returns the progress of what, which is shown if stderr is a terminal that
// can erase a line.
func (a *app) newProgress(what string) *progress {
	p := &progress{app: a, what: what, from: time.Now().Add(a.patience)}
	f, ok := a.stderr.(*os.File)
	if term := a.env("TERM"); ok && !a.json && term != "" && term != "dumb" && isTerminal(int(f.Fd())) {
		p.w = f
	}
	return p
}

// show shows how much is done.
func (p *progress) show(done, total int) {
	if p.w == nil || time.Now().Before(p.from) {
		return
	}
	_, _ = io.WriteString(p.w, eraseLine)
	printf(p.w, "%s: %d of %d", p.what, done, total)
	p.app.drawn = p
}

// clearLine erases the line of progress that is on the terminal, if one is.
func (a *app) clearLine() {
	if a.drawn != nil {
		_, _ = io.WriteString(a.drawn.w, eraseLine)
		a.drawn = nil
	}
}

// callLong is call for a request that takes long, whose progress is shown.
func callLong[R any](ctx context.Context, a *app, what string, req control.Request[R]) (*R, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer a.clearLine()
	if p := a.newProgress(what); p.w != nil {
		c.OnProgress = func(now control.Progress) { p.show(now.Done, now.Total) }
	}
	return control.Do(ctx, c, req)
}
