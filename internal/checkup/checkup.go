// Package checkup is what `vigilctl doctor` says, line by line. Those who look
// are vigilctl (package doctor), the daemon and the opener.
package checkup

import (
	"fmt"
	"slices"
	"strings"
)

// Result is how a check came out.
type Result string

// The results, best first.
const (
	OK   Result = "ok"
	Warn Result = "warn" // it works, and could be safer or last longer
	Fail Result = "fail" // something doesn't work, or isn't safe
)

// Check is one line: what was looked at, how it is, and what to do about it.
type Check struct {
	What   string `json:"what"`            // a word or two
	Vault  string `json:"vault,omitempty"` // the vault it is about
	Result Result `json:"result"`
	Detail string `json:"detail"`         // no full stop
	Next   string `json:"next,omitempty"` // a sentence or a command; always there unless OK
}

// Fine makes a check that found nothing wrong.
func Fine(what, format string, args ...any) Check {
	return Check{What: what, Result: OK, Detail: fmt.Sprintf(format, args...)}
}

// Warning makes a check of what works and should be mended.
func Warning(what, next, format string, args ...any) Check {
	return Check{What: what, Result: Warn, Detail: fmt.Sprintf(format, args...), Next: next}
}

// Failure makes a check of what doesn't work.
func Failure(what, next, format string, args ...any) Check {
	return Check{What: what, Result: Fail, Detail: fmt.Sprintf(format, args...), Next: next}
}

// Failed reports whether one of them is a Fail.
func Failed(checks []Check) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Result == Fail })
}

// Of says which vault checks are about, and returns them.
func Of(vault string, checks ...Check) []Check {
	for i := range checks {
		checks[i].Vault = vault
	}
	return checks
}

// Count is a number of things, as a line says it: "1 identity", "2 identities".
func Count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok && strings.TrimRight(stem, "aeou") == stem { // key, day
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, one)
}
