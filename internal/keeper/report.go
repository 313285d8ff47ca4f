package keeper

import (
	"context"

	"vigil/internal/wire"
)

// Report is what a keeper says of itself when it starts.
type Report struct {
	// Undumpable: no debugger and no core file; FromStart: since exec, as its
	// binary is unreadable to its user.
	Undumpable, FromStart bool
	// Holds names what protects it: "seccomp", "landlock", "no_core".
	Holds []string
	// Missing says what this system doesn't offer.
	Missing []string
}

// Append appends the encoding of p to b.
func (p Report) Append(b []byte) []byte {
	b = wire.AppendBool(b, p.Undumpable)
	b = wire.AppendBool(b, p.FromStart)
	text := func(b []byte, s *string) []byte { return wire.AppendString(b, *s) }
	return wire.AppendList(wire.AppendList(b, p.Holds, text), p.Missing, text)
}

func readReport(body []byte) (Report, error) {
	r := wire.NewReader(body)
	text := func(r *wire.Reader) string { return string(r.String()) }
	p := Report{Undumpable: r.Bool(), FromStart: r.Bool(), Holds: wire.ReadList(&r, text), Missing: wire.ReadList(&r, text)}
	return p, replyEnd(&r, "keeper's report")
}

// Stats says what a keeper holds now.
type Stats struct {
	Keys   int    // all of them
	Open   int    // those whose private half is in guarded memory
	Used   int    // bytes of guarded memory handed out
	Mapped int    // bytes of guarded memory
	Kind   string // of guarded memory (guard.Kind)
}

// Append appends the encoding of s to b.
func (s Stats) Append(b []byte) []byte {
	b = wire.AppendUint32(b, uint32(s.Keys))
	b = wire.AppendUint32(b, uint32(s.Open))
	b = wire.AppendUint64(b, uint64(s.Used))
	b = wire.AppendUint64(b, uint64(s.Mapped))
	return wire.AppendString(b, s.Kind)
}

func readStats(body []byte) (Stats, error) {
	r := wire.NewReader(body)
	s := Stats{
		Keys: int(r.Uint32()), Open: int(r.Uint32()),
		Used: int(r.Uint64()), Mapped: int(r.Uint64()), Kind: string(r.String()),
	}
	return s, replyEnd(&r, "stats")
}

// Stats asks what the keeper holds now.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	reply, err := c.call(ctx, OpStats)
	if err != nil {
		return Stats{}, err
	}
	return readStats(reply)
}
