package agentproto

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"vigil/internal/wire"
)

// Constraints are the conditions a key was added under (RFC 9987 section 6.2.6).
// The zero value has no conditions.
type Constraints struct {
	Lifetime    uint32 // seconds from now on; 0 with HasLifetime expires at once
	HasLifetime bool
	Confirm     bool          // ask before each use
	To          []Destination // restrict-destination-v00@openssh.com; none: anywhere
	// Provider is sk-provider@openssh.com: what ssh-sk-helper signs with, "internal" or a
	// library's path; "": none was given.
	Provider string

	// Raw is the encoding these were read from, for passing on.
	Raw []byte
}

// Destination is one permitted hop: from one host (or the origin) to a user at
// another (PROTOCOL.agent section 2).
type Destination struct {
	From Hop // without Host and Keys: the host the agent runs on
	To   Hop
}

// Hop is one end of a Destination.
type Hop struct {
	User string // pattern with * and ?; empty matches every user; always empty in From
	Host string // name to find among a host certificate's principals
	Keys []KeySpec
}

// KeySpec is a host key, or the key of a certificate authority for hosts.
type KeySpec struct {
	Blob []byte
	CA   bool
}

// ParseConstraints decodes the constraints that end an MsgAddIDConstrained. Byte
// slices alias rest.
//
// An unknown, repeated or malformed constraint makes it fail, so that no key is
// added with fewer conditions than were asked for.
func ParseConstraints(rest []byte) (Constraints, error) {
	c := Constraints{Raw: rest}
	r := wire.NewReader(rest)
	for r.Err() == nil && r.Len() > 0 {
		switch number := r.Byte(); number {
		case ConstrainLifetime:
			if c.HasLifetime {
				return Constraints{}, fmt.Errorf("lifetime given twice: %w", ErrInvalid)
			}
			c.HasLifetime, c.Lifetime = true, r.Uint32()
		case ConstrainConfirm:
			if c.Confirm {
				return Constraints{}, fmt.Errorf("confirmation asked for twice: %w", ErrInvalid)
			}
			c.Confirm = true
		case ConstrainExtension:
			name := r.String()
			if r.Err() != nil {
				break
			}
			if string(name) == ExtSKProvider {
				if c.Provider != "" {
					return Constraints{}, fmt.Errorf("%s given twice: %w", ExtSKProvider, ErrInvalid)
				}
				provider := r.String()
				if r.Err() == nil && (len(provider) == 0 || len(provider) > MaxProvider || bytes.IndexByte(provider, 0) >= 0) {
					return Constraints{}, fmt.Errorf("%s: %w", ExtSKProvider, ErrInvalid)
				}
				c.Provider = string(provider)
				break
			}
			if string(name) != ExtRestrictDest {
				return Constraints{}, fmt.Errorf("constraint %s: %w", Printable(name), ErrUnsupported)
			}
			if c.To != nil {
				return Constraints{}, fmt.Errorf("%s given twice: %w", ExtRestrictDest, ErrInvalid)
			}
			list := r.String()
			if r.Err() != nil {
				break
			}
			var err error
			if c.To, err = ParseDestinations(list); err != nil {
				return Constraints{}, err
			}
		default:
			if r.Err() == nil {
				return Constraints{}, fmt.Errorf("constraint number %d: %w", number, ErrUnsupported)
			}
		}
	}
	if err := r.End(); err != nil {
		return Constraints{}, fmt.Errorf("constraints: %w", err)
	}
	return c, nil
}

// ParseDestinations decodes the destinations of a
// restrict-destination-v00@openssh.com constraint, the content of its string. Key
// blobs alias list.
//
// An empty list is refused: OpenSSH then adds the key unrestricted, which nobody
// who asks for a restriction can intend.
func ParseDestinations(list []byte) ([]Destination, error) {
	var to []Destination
	for r := wire.NewReader(list); r.Len() > 0; {
		if len(to) == MaxDestinations {
			return nil, fmt.Errorf("more than %d destinations: %w", MaxDestinations, ErrInvalid)
		}
		one := r.String()
		if err := r.Err(); err != nil {
			return nil, fmt.Errorf("destination %d: %w", len(to), err)
		}
		d, err := parseDestination(one)
		if err != nil {
			return nil, fmt.Errorf("destination %d: %w", len(to), err)
		}
		to = append(to, d)
	}
	if len(to) == 0 {
		return nil, fmt.Errorf("no destination: %w", ErrInvalid)
	}
	return to, nil
}

func parseDestination(b []byte) (Destination, error) {
	r := wire.NewReader(b)
	from, to, reserved := r.String(), r.String(), r.String()
	if err := r.End(); err != nil {
		return Destination{}, err
	}
	if len(reserved) != 0 {
		return Destination{}, fmt.Errorf("reserved field in use: %w", ErrUnsupported)
	}
	var d Destination
	var err error
	if d.From, err = parseHop(from); err != nil {
		return Destination{}, fmt.Errorf("from: %w", err)
	}
	if d.To, err = parseHop(to); err != nil {
		return Destination{}, fmt.Errorf("to: %w", err)
	}
	return d, d.check()
}

// check checks a destination against the requirements of PROTOCOL.agent.
func (d *Destination) check() error {
	switch {
	case d.From.User != "":
		return fmt.Errorf("from a user: %w", ErrInvalid)
	case (d.From.Host == "") != (len(d.From.Keys) == 0):
		return fmt.Errorf("from a host without keys, or keys without a host: %w", ErrInvalid)
	case d.To.Host == "" || len(d.To.Keys) == 0:
		return fmt.Errorf("to no host or no keys: %w", ErrInvalid)
	}
	return nil
}

func parseHop(b []byte) (Hop, error) {
	r := wire.NewReader(b)
	user, host, reserved := r.String(), r.String(), r.String()
	switch {
	case r.Err() != nil:
		return Hop{}, r.Err()
	case len(reserved) != 0:
		return Hop{}, fmt.Errorf("reserved field in use: %w", ErrUnsupported)
	case len(user) > MaxUserPattern:
		return Hop{}, fmt.Errorf("user pattern longer than %d bytes: %w", MaxUserPattern, ErrInvalid)
	case bytes.IndexByte(user, 0) >= 0 || bytes.IndexByte(host, 0) >= 0:
		return Hop{}, fmt.Errorf("zero byte in a name: %w", ErrInvalid)
	}
	h := Hop{User: string(user), Host: string(host)}
	for r.Len() > 0 {
		k := KeySpec{Blob: r.String(), CA: r.Bool()}
		if err := r.Err(); err != nil {
			return Hop{}, fmt.Errorf("host key: %w", err)
		}
		if len(k.Blob) == 0 {
			return Hop{}, fmt.Errorf("empty host key: %w", ErrInvalid)
		}
		h.Keys = append(h.Keys, k)
	}
	return h, nil
}

// AppendDestinations appends destinations in the form that ParseDestinations reads.
func AppendDestinations(b []byte, to []Destination) []byte {
	for i := range to {
		var one []byte
		one = wire.AppendString(one, appendHop(nil, &to[i].From))
		one = wire.AppendString(one, appendHop(nil, &to[i].To))
		one = wire.AppendString(one, "") // reserved
		b = wire.AppendString(b, one)
	}
	return b
}

func appendHop(b []byte, h *Hop) []byte {
	b = wire.AppendString(b, h.User)
	b = wire.AppendString(b, h.Host)
	b = wire.AppendString(b, "") // reserved
	for _, k := range h.Keys {
		b = wire.AppendBool(wire.AppendString(b, k.Blob), k.CA)
	}
	return b
}

// Clone returns a copy of c that aliases nothing.
func (c Constraints) Clone() Constraints {
	c.Raw = bytes.Clone(c.Raw)
	c.To = CloneDestinations(c.To)
	return c
}

// CloneDestinations returns a copy of to that aliases nothing.
func CloneDestinations(to []Destination) []Destination {
	to = slices.Clone(to)
	for i := range to {
		for _, h := range []*Hop{&to[i].From, &to[i].To} {
			h.Keys = slices.Clone(h.Keys)
			for j := range h.Keys {
				h.Keys[j].Blob = bytes.Clone(h.Keys[j].Blob)
			}
		}
	}
	return to
}

// maxPrintable is how much of a peer's text appears in an error, in bytes.
const maxPrintable = 64

// Printable returns a peer's text in a form fit for an error or a question: at
// most 64 bytes of it, with "?" for anything but printable ASCII.
func Printable[S ~string | ~[]byte](text S) string {
	s := string(text[:min(len(text), maxPrintable)])
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(text) > maxPrintable {
		s += "..."
	}
	return s
}
