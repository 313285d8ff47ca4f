package awsfake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Policy is an IAM policy document, with the parts of the language that Vigil's
// documentation uses: Effect, Action, Resource, and the condition operators StringEquals,
// StringLike, StringNotEquals, Null and Bool, with ForAllValues and ForAnyValue.
type Policy struct {
	Statement []Statement
}

// Statement is one rule of a Policy.
type Statement struct {
	Sid       string
	Effect    string
	Action    texts
	Resource  texts
	Condition map[string]map[string]texts
}

// texts is a JSON string or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

// ParsePolicy parses a policy document. It refuses what it can't evaluate.
func ParsePolicy(text string) (Policy, error) {
	var p Policy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Policy{}, fmt.Errorf("read policy: %w", err)
	}
	if len(p.Statement) == 0 {
		return Policy{}, fmt.Errorf("policy has no statement")
	}
	for _, s := range p.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || len(s.Resource) == 0 {
			return Policy{}, fmt.Errorf("statement %q: want Effect, Action and Resource", s.Sid)
		}
		for operator := range s.Condition {
			if _, ok := operators[operator]; !ok {
				return Policy{}, fmt.Errorf("statement %q: unknown operator %q", s.Sid, operator)
			}
		}
	}
	return p, nil
}

// allowed evaluates a caller's policies: first any Deny, then any Allow, else no. A
// caller without policies may do everything.
func (c *Caller) allowed(call Call) bool {
	if c.policies == nil {
		return true
	}
	return Allowed(c.policies, call)
}

// Check refuses a call that the caller's policies don't allow, for services that
// check one request twice.
func (c *Caller) Check(call Call, code string, status int) error {
	if c.allowed(call) {
		return nil
	}
	return &Refusal{status, code, fmt.Sprintf(
		"User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
		c.ARN, call.Action, call.Resource, call.Action,
	)}
}

// Allowed evaluates policies for a call.
func Allowed(policies []Policy, call Call) bool {
	allow := false
	for _, p := range policies {
		for _, s := range p.Statement {
			if !s.applies(call) {
				continue
			}
			if s.Effect == "Deny" {
				return false
			}
			allow = true
		}
	}
	return allow
}

func (s Statement) applies(call Call) bool {
	anyLike := func(patterns []string, value string, fold bool) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			if fold {
				p, value = strings.ToLower(p), strings.ToLower(value)
			}
			return like(p, value)
		})
	}
	if !anyLike(s.Action, call.Action, true) || !anyLike(s.Resource, call.Resource, false) {
		return false
	}
	for operator, keys := range s.Condition {
		for key, want := range keys {
			if !operators[operator](call.Context[key], want) {
				return false
			}
		}
	}
	return true
}

var operators = map[string]func(have, want []string) bool{
	"StringEquals":              func(have, want []string) bool { return len(have) > 0 && all(have, want, equal) },
	"StringLike":                func(have, want []string) bool { return len(have) > 0 && all(have, want, likeAny) },
	"StringNotEquals":           func(have, want []string) bool { return len(have) == 0 || !all(have, want, equal) },
	"StringNotEqualsIfExists":   func(have, want []string) bool { return len(have) == 0 || !all(have, want, equal) },
	"Bool":                      func(have, want []string) bool { return len(have) > 0 && all(have, want, equal) },
	"ForAllValues:StringEquals": func(have, want []string) bool { return all(have, want, equal) },
	"ForAnyValue:StringEquals": func(have, want []string) bool {
		return slices.ContainsFunc(have, func(h string) bool { return equal(h, want) })
	},
	"ForAnyValue:StringNotEquals": func(have, want []string) bool {
		return slices.ContainsFunc(have, func(h string) bool { return !equal(h, want) })
	},
	"Null": func(have, want []string) bool { return (len(have) == 0) == slices.Contains(want, "true") },
}

func all(have, want []string, match func(string, []string) bool) bool {
	return !slices.ContainsFunc(have, func(h string) bool { return !match(h, want) })
}

func equal(value string, want []string) bool { return slices.Contains(want, value) }

func likeAny(value string, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool { return like(w, value) })
}

// like matches a pattern with * for any characters and ? for any one.
func like(pattern, value string) bool {
	for i := range len(pattern) {
		switch {
		case pattern[i] == '*':
			for j := 0; j <= len(value)-i; j++ {
				if like(pattern[i+1:], value[i+j:]) {
					return true
				}
			}
			return false
		case i >= len(value) || pattern[i] != '?' && pattern[i] != value[i]:
			return false
		}
	}
	return len(pattern) == len(value)
}
