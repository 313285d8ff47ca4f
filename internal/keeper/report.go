package keeper

import (
	"context"

	"vigil/internal/wire"
)

// Report is what a keeper reports about its protection when it starts.
type Report struct {
	// Undumpable: no debugger and no core file. FromStart: since exec, because the
	// binary isn't readable by its user.
	Undumpable, FromStart bool
	// Holds names the protections in force: "seccomp", "landlock", "no_core".
	Holds []string
	// Missing names the protections that this system doesn't offer.
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

// Stats counts what a keeper holds.
type Stats struct {
	Keys   int    // all keys
	Open   int    // keys whose private key is in guarded memory
	Used   int    // bytes of guarded memory in use
	Mapped int    // bytes of guarded memory mapped
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

// Stats asks the keeper what it holds.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	reply, err := c.call(ctx, OpStats)
	if err != nil {
		return Stats{}, err
	}
	return readStats(reply)
}
