package keeper

import (
	"vigil/internal/guard"
	"vigil/internal/sandbox"
	"vigil/internal/wire"
)

// Report is what a keeper says of itself when it starts.
type Report struct {
	// Undumpable: no debugger and no core file; FromStart: since exec, as its
	// binary is unreadable to its user.
	Undumpable, FromStart bool
	// Holds names what protects it: "seccomp", "landlock", "no_new_privs", …
	Holds []string
	// Missing says what this system doesn't offer.
	Missing []string
}

func (p *Report) harden(h guard.Hardening) {
	p.Undumpable, p.FromStart = h.Undumpable, h.FromStart
	if h.NoCore {
		p.Holds = append(p.Holds, "no_core")
	}
}

func (p *Report) sandbox(r sandbox.Report) {
	if r.Seccomp {
		p.Holds = append(p.Holds, "seccomp")
	}
	if r.Landlock > 0 {
		p.Holds = append(p.Holds, "landlock")
	}
	p.Missing = append(p.Missing, r.Missing...)
}

func (p *Report) append(b []byte) []byte {
	b = wire.AppendBool(b, p.Undumpable)
	b = wire.AppendBool(b, p.FromStart)
	for _, list := range [][]string{p.Holds, p.Missing} {
		b = wire.AppendUint32(b, uint32(len(list)))
		for _, s := range list {
			b = wire.AppendString(b, s)
		}
	}
	return b
}

func readReport(r *wire.Reader) Report {
	p := Report{Undumpable: r.Bool(), FromStart: r.Bool()}
	for _, list := range []*[]string{&p.Holds, &p.Missing} {
		for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
			*list = append(*list, string(r.String()))
		}
	}
	return p
}

// Stats says what a keeper holds now.
type Stats struct {
	Keys   int // all of them
	Open   int // those whose private half is in guarded memory
	Used   int // bytes of guarded memory handed out
	Mapped int // bytes of guarded memory
	Kind   string
}

func readStats(r *wire.Reader) Stats {
	return Stats{
		Keys: int(r.Uint32()), Open: int(r.Uint32()),
		Used: int(r.Uint64()), Mapped: int(r.Uint64()), Kind: string(r.String()),
	}
}
