package sshagent

import (
	"encoding/binary"
	"net"
	"testing"

	"vigil/internal/agentproto"
	"vigil/internal/wire"
)

func netPipe(t testing.TB) (client, server net.Conn) {
	t.Helper()
	client, server = net.Pipe()
	t.Cleanup(func() { client.Close() })
	return client, server
}

// frame makes a message out of its number and body.
func frame(number byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	return append(append(b, number), body...)
}

func signRequest(key, data []byte, flags uint32) []byte {
	b := wire.AppendString(wire.AppendString(nil, key), data)
	return frame(agentproto.MsgSignRequest, wire.AppendUint32(b, flags))
}
