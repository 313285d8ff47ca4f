package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// Message numbers of RFC 9987 and of the protocol before it.
const (
	agentFailure           = 5
	agentSuccess           = 6
	agentcRemoveAllRSA     = 9
	agentcList             = 11
	agentIdentities        = 12
	agentcSign             = 13
	agentSignature         = 14
	agentcAdd              = 17
	agentcRemove           = 18
	agentcRemoveAll        = 19
	agentcAddToken         = 20
	agentcRemoveToken      = 21
	agentcLock             = 22
	agentcUnlock           = 23
	agentcAddConstrained   = 25
	agentcAddTokenConstr   = 26
	agentcExtension        = 27
	agentExtensionFailure  = 28
	agentExtensionResponse = 29
)

// maxMessage is the longest message both sides of OpenSSH take.
const maxMessage = 256 << 10

// answerDeadline bounds the wait for an answer; agents answer in milliseconds,
// or, after wrong unlocks, in seconds.
const answerDeadline = time.Minute

// client is a connection to the agent of a run.
type client struct {
	net.Conn
	run *run
}

// dial opens another connection to the agent.
func (r *run) dial() *client {
	r.t.Helper()
	conn, err := net.Dial("unix", r.agent.Socket)
	if err != nil {
		r.t.Fatalf("connect to the agent: %v", err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &client{conn, r}
}

// frame puts the length before a message.
func frame(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(msg))), msg...)
}

// do sends a message, and notes and returns its answer.
func (c *client) do(step string, msg []byte) []byte {
	c.run.t.Helper()
	reply, err := c.exchange(msg)
	c.run.note(step, c.run.describe(reply, err))
	return reply
}

// exchange sends a message and returns its answer, or io.EOF when the agent closed.
func (c *client) exchange(msg []byte) ([]byte, error) {
	if err := c.send(frame(msg)); err != nil {
		return nil, err
	}
	return c.receive()
}

// send writes bytes as they are. An agent that closed meanwhile is io.EOF.
func (c *client) send(raw []byte) error {
	if err := c.SetDeadline(time.Now().Add(answerDeadline)); err != nil {
		return err
	}
	_, err := c.Write(raw)
	return asEOF(err)
}

// receive reads one answer.
func (c *client) receive() ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(answerDeadline)); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, asEOF(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxMessage {
		return nil, fmt.Errorf("answer of %d bytes", n)
	}
	reply := make([]byte, n)
	if _, err := io.ReadFull(c, reply); err != nil {
		return nil, fmt.Errorf("answer cut short: %w", err)
	}
	return reply, nil
}

// asEOF makes the ways in which a closed connection shows into one.
func asEOF(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
		return io.EOF
	}
	return err
}

// must sends a message that is part of a case's setting, not of what it looks at.
func (c *client) must(msg []byte) {
	c.run.t.Helper()
	reply, err := c.exchange(msg)
	if err != nil || reply[0] != agentSuccess {
		c.run.t.Fatalf("setting up: %s", c.run.describe(reply, err))
	}
}

// alive says whether the agent still takes connections and answers.
func (r *run) alive() bool {
	conn, err := net.Dial("unix", r.agent.Socket)
	if err != nil {
		return false
	}
	c := &client{conn, r}
	defer c.Close()
	_, err = c.exchange([]byte{agentcList})
	return err == nil
}

// writeScript makes an executable file that a case's agent may start.
func writeScript(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
