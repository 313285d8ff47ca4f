// Package checkup holds the results of `vigilctl doctor`. The checks are made by
// vigilctl (package doctor), the daemon and the opener.
package checkup

import (
	"fmt"
	"slices"
	"strings"
)

// Result is the result of a check.
type Result string

// The results, best first.
const (
	OK   Result = "ok"
	Warn Result = "warn" // it works, but could be safer or more durable
	Fail Result = "fail" // something doesn't work, or isn't safe
)

// Check is one line: what was checked, the result, and what to do about it.
type Check struct {
	What   string `json:"what"`            // a word or two
	Vault  string `json:"vault,omitempty"` // the vault that was checked
	Result Result `json:"result"`
	Detail string `json:"detail"`         // no full stop
	Next   string `json:"next,omitempty"` // a sentence or a command; always there unless OK
}

// Fine returns a check without a problem.
func Fine(what, format string, args ...any) Check {
	return Check{What: what, Result: OK, Detail: fmt.Sprintf(format, args...)}
}

// Warning returns a check of something that works but should be fixed.
func Warning(what, next, format string, args ...any) Check {
	return Check{What: what, Result: Warn, Detail: fmt.Sprintf(format, args...), Next: next}
}

// Failure returns a check of something that doesn't work.
func Failure(what, next, format string, args ...any) Check {
	return Check{What: what, Result: Fail, Detail: fmt.Sprintf(format, args...), Next: next}
}

// Failed reports whether any of the checks is a Fail.
func Failed(checks []Check) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Result == Fail })
}

// Of sets the vault of checks, and returns them.
func Of(vault string, checks ...Check) []Check {
	for i := range checks {
		checks[i].Vault = vault
	}
	return checks
}

// Count returns a count with a noun: "1 identity", "2 identities".
func Count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok && strings.TrimRight(stem, "aeou") == stem { // key, day
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, one)
}
