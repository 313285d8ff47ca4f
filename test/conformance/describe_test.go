package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// describe says in words what an agent answered.
func (r *run) describe(reply []byte, err error) string {
	switch {
	case errors.Is(err, io.EOF):
		if !r.alive() {
			return "closed, and the agent ended"
		}
		return "closed"
	case err != nil:
		return "error: " + err.Error()
	}
	m := wire.NewReader(reply[1:])
	text := ""
	switch reply[0] {
	case agentFailure:
		text = "failure"
	case agentSuccess:
		text = "success"
	case agentExtensionFailure:
		text = "extension failure"
	case agentIdentities:
		text = r.describeIdentities(&m)
	case agentSignature:
		text = "signature " + r.describeSignature(m.String())
	case agentExtensionResponse:
		text = "extension response"
		for m.Err() == nil && m.Len() > 0 {
			text += " " + string(m.String())
		}
	default:
		return fmt.Sprintf("message %d", reply[0])
	}
	if err := m.End(); err != nil {
		return text + ", malformed: " + err.Error()
	}
	return text
}

func (r *run) describeIdentities(m *wire.Reader) string {
	n := m.Uint32()
	var names []string
	for range n {
		blob, comment := m.String(), string(m.String())
		if m.Err() != nil {
			break
		}
		name := r.nameOf(blob)
		if comment != name {
			name += fmt.Sprintf(" (%s)", comment)
		}
		names = append(names, name)
	}
	return fmt.Sprintf("%d keys [%s]", n, strings.Join(names, ", "))
}

func (r *run) nameOf(blob []byte) string {
	for _, k := range r.known {
		if bytes.Equal(k.public, blob) {
			return k.name
		}
	}
	return "unknown key"
}

// lastSigned is set by the sign steps: the data and the key a signature is for.
type signed struct {
	key  *key
	data []byte
}

// doSign asks for a signature and notes the answer; a signature is checked.
func (c *client) doSign(step string, k *key, data []byte, flags uint32) {
	c.run.t.Helper()
	reply, err := c.exchange(sign(k, data, flags))
	answer := c.run.describe(reply, err)
	if err == nil && reply[0] == agentSignature {
		answer += verdict(signed{k, data}, reply)
	}
	c.run.note(step, answer)
}

func (r *run) describeSignature(blob []byte) string {
	m := wire.NewReader(blob)
	return string(m.String())
}

func verdict(s signed, reply []byte) string {
	m := wire.NewReader(reply[1:])
	inner := wire.NewReader(m.String())
	sig := &ssh.Signature{Format: string(inner.String()), Blob: inner.String(), Rest: inner.Rest()}
	if err := errors.Join(m.End(), s.key.plain.Verify(s.data, sig)); err != nil {
		return ", wrong: " + err.Error()
	}
	return ", right"
}
