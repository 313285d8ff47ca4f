package policy

import "slices"

// Approve says which uses of a key a person is asked for. The zero value is the default of
// the key's vault and, for a vault, ApproveForwarded.
type Approve string

// The values of Approve, each stricter than the one before.
const (
	ApproveNever     Approve = "never"
	ApproveForwarded Approve = "forwarded" // what comes through a forwarded agent, certificates, and what is unknown
	ApproveFirst     Approve = "first"     // everything; an answer may hold for a while
	ApproveAlways    Approve = "always"    // everything, each time
)

// approvals are the values of Approve, each stricter than the one before.
var approvals = []Approve{ApproveNever, "", ApproveForwarded, ApproveFirst, ApproveAlways}

// ParseApprove returns the value that is written as text.
func ParseApprove(text string) (a Approve, ok bool) {
	return Approve(text), text != "" && slices.Contains(approvals, Approve(text))
}

// Stricter reports whether a asks for more than b. Of a vault's default it is known only
// that it is one: it counts as stricter than never and laxer than the others.
func (a Approve) Stricter(b Approve) bool {
	return slices.Index(approvals, a) > slices.Index(approvals, b)
}

// Or returns a, or d if a is the default.
func (a Approve) Or(d Approve) Approve {
	if a == "" {
		return d
	}
	return a
}

// Verdict is what happens to a request.
type Verdict int

// The verdicts.
const (
	Permit Verdict = iota
	Ask
	Refuse
)

// Judge decides about a use. What a forwarded agent is asked to sign without saying what
// it is can be anything, and a person couldn't tell either: it is refused.
func (a Approve) Judge(u *Use, forwarded bool) Verdict {
	switch {
	case a == ApproveNever:
		return Permit
	case forwarded && u.Class == ClassUnknown:
		return Refuse
	case forwarded, a == ApproveFirst, a == ApproveAlways, u.Class == ClassCertificate, u.Class == ClassUnknown:
		return Ask
	}
	return Permit
}

// Lasts reports whether an answer about a use may hold for others like it. A certificate
// and what is unknown are never like another one.
func (a Approve) Lasts(u *Use) bool {
	return a != ApproveAlways && (u.Class == ClassLogin || u.Class == ClassSSHSig)
}
