package vault

import (
	"cmp"

	"vigil/internal/agentproto"
	"vigil/internal/control"
)

// destination shows a constraint in the syntax of ssh-add -h.
func destination(to agentproto.Destination) string {
	s := to.To.Host
	if to.To.User != "" {
		s = to.To.User + "@" + s
	}
	if to.From.Host != "" {
		s = to.From.Host + ">" + s
	}
	return cmp.Or(s, "(a host without a name)")
}

// constraints turns vigilctl's destinations, resolved through known_hosts
// there, into the agent's.
func constraints(list []control.Destination) (out []agentproto.Destination) {
	for i := range list {
		out = append(out, agentproto.Destination{From: hop(&list[i].From), To: hop(&list[i].To)})
	}
	return out
}

func hop(h *control.Hop) agentproto.Hop {
	out := agentproto.Hop{User: h.User, Host: h.Host}
	for _, k := range h.Keys {
		out.Keys = append(out.Keys, agentproto.KeySpec{Blob: k.Blob, CA: k.CA})
	}
	return out
}
