package conformance

// A difference is an answer that Vigil gives on purpose where OpenSSH gives
// another. Each is told to the user in docs/agent-protocol.md.
type difference struct {
	answer string // Vigil's
	why    string
}

// stricter lists the differences by case and step.
var stricter = map[string]difference{}
