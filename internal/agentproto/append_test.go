package agentproto

import "vigil/internal/wire"

// appendConstraints appends the encoding of c, which Raw plays no part in.
func appendConstraints(b []byte, c Constraints) []byte {
	if c.HasLifetime {
		b = wire.AppendUint32(append(b, ConstrainLifetime), c.Lifetime)
	}
	if c.Confirm {
		b = append(b, ConstrainConfirm)
	}
	if len(c.To) > 0 {
		b = wire.AppendString(append(b, ConstrainExtension), ExtRestrictDest)
		b = wire.AppendString(b, AppendDestinations(nil, c.To))
	}
	return b
}

// appendSessionBind appends the whole message of an ExtSessionBind, with its length.
func appendSessionBind(b []byte, s SessionBind) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, MsgExtension)
	b = wire.AppendString(b, ExtSessionBind)
	b = wire.AppendString(b, s.HostKey)
	b = wire.AppendString(b, s.SessionID)
	b = wire.AppendString(b, s.Signature)
	b = wire.AppendBool(b, s.Forwarding)
	putLength(b[start:])
	return b
}
