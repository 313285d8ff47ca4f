package main

import (
	"io"
	"os"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

// colour is how a terminal shows a word: as parameters of SGR (ECMA-48). These few can be
// read on light and on dark backgrounds, and nothing is said by a colour alone.
type colour string

// The colours.
const (
	noColour colour = ""
	good     colour = "32"   // green
	warning  colour = "33"   // yellow
	bad      colour = "31"   // red
	failure  colour = "1;31" // bold red
)

// painted is a word that printf shows in a colour where colours are wanted, and else as it
// is.
type painted struct {
	text   string
	colour colour
}

// in returns the text as w is to have it. The text is fit for a terminal already.
func (p painted) in(w io.Writer, text string) string {
	if c, ok := w.(interface{ colours() bool }); !ok || !c.colours() || p.colour == noColour {
		return text
	}
	return "\x1b[" + string(p.colour) + "m" + text + "\x1b[0m"
}

// wantsColours reports whether out is a terminal that shows colours, and its user wants them
// (https://no-color.org).
func (a *app) wantsColours(out io.Writer) bool {
	f, ok := out.(*os.File)
	term := a.env("TERM")
	return ok && a.env("NO_COLOR") == "" && term != "" && term != "dumb" && isTerminal(int(f.Fd()))
}

// paintState returns a vault's state: only unlocked is all well.
func paintState(state control.VaultState, text string) painted {
	switch state {
	case control.VaultUnlocked:
		return painted{text, good}
	case control.VaultDamaged, control.VaultMissing:
		return painted{text, bad}
	}
	return painted{text, warning}
}

// paintResult returns a check's result.
func paintResult(r checkup.Result, text string) painted {
	switch r {
	case checkup.OK:
		return painted{text, good}
	case checkup.Warn:
		return painted{text, warning}
	}
	return painted{text, failure}
}
