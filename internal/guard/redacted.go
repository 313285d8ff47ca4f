package guard

import "fmt"

const redacted = "[redacted]"

// Redacted makes a struct that embeds it print as "[redacted]" with every verb of
// fmt and in every text encoding, as a value and behind a pointer.
type Redacted struct{}

// String returns "[redacted]".
func (Redacted) String() string { return redacted }

// GoString returns "[redacted]".
func (Redacted) GoString() string { return redacted }

// Format writes "[redacted]", whatever the verb.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText returns "[redacted]".
func (Redacted) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
