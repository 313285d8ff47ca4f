package sshagent

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/wire"
)

// netPipe is a connection within this process, which synctest can wait for.
func netPipe(t testing.TB) (client net.Conn, server Conn) {
	t.Helper()
	c, s := net.Pipe()
	gone := make(chan struct{})
	client = &clientEnd{Conn: c, gone: gone}
	t.Cleanup(func() { client.Close() })
	return client, &serverEnd{Conn: s, gone: gone, over: make(chan struct{}, 1)}
}

type clientEnd struct {
	net.Conn
	once sync.Once
	gone chan struct{}
}

func (c *clientEnd) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

type serverEnd struct {
	net.Conn
	gone chan struct{}
	over chan struct{} // a deadline in the past was set
}

func (s *serverEnd) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		select {
		case s.over <- struct{}{}:
		default:
		}
	}
	return s.Conn.SetReadDeadline(t)
}

func (s *serverEnd) AwaitHangup() error {
	select {
	case <-s.gone:
		return nil
	case <-s.over:
		return os.ErrDeadlineExceeded
	}
}

// frame returns a message with a number and body.
func frame(number byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	return append(append(b, number), body...)
}

func signRequest(key, data []byte, flags uint32) []byte {
	b := wire.AppendString(wire.AppendString(nil, key), data)
	return frame(agentproto.MsgSignRequest, wire.AppendUint32(b, flags))
}
