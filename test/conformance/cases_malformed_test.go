package conformance

import (
	"fmt"
	"slices"
	"strings"

	"vigil/internal/wire"
)

// malformedCases are messages that are not what they say. Each has a connection
// of its own, as an agent may answer by closing.
var malformedCases = []testCase{
	{name: "unknown messages", do: func(r *run) {
		for _, n := range []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16, 24, 28, 29, 30, 99, 200, 239, 240, 255} {
			r.dial().do(fmt.Sprintf("message %d", n), []byte{n})
		}
	}},
	{name: "lengths", do: func(r *run) {
		r.raw("a message of no bytes", []byte{0, 0, 0, 0}, list())
		r.raw("a message of 256 KiB and a byte", []byte{0, 4, 0, 1, agentcList}, nil)
		r.raw("a message of 300 MB", []byte{0x12, 0, 0, 0, agentcList}, nil)
		r.raw("a message of 4 GiB", []byte{255, 255, 255, 255, agentcList}, nil)
		c, k := r.dial(), r.key("ed25519")
		c.must(add(k))
		msg := sign(k, nil, 0)
		c.doSign("the longest message", k, make([]byte, maxMessage-len(msg)), 0)
		r.dial().doSign("a byte more", k, make([]byte, maxMessage-len(msg)+1), 0)
		c.do("list", list())
	}},
	{name: "half a message", do: func(r *run) {
		for _, cut := range []int{1, 3, 4, 5} {
			c := r.dial()
			raw := frame(sign(r.key("ed25519"), []byte("data"), 0))[:cut]
			r.hangUp(c, fmt.Sprintf("%d bytes, then the end", cut), raw)
		}
		r.dial().do("list", list())
	}},
	{name: "list with bytes after it", do: func(r *run) {
		r.dial().do("list", []byte{agentcList, 0, 0})
		r.dial().do("remove all", []byte{agentcRemoveAll, 0})
	}},
	{name: "sign cut short", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.must(add(k))
		r.truncations("sign", sign(k, []byte("data"), 0))
		r.dial().do("with bytes after it", append(sign(k, []byte("data"), 0), 0))
		r.dial().do("a key blob with bytes after it", wire.AppendUint32(wire.AppendString(wire.AppendString([]byte{agentcSign}, append(k.public[:len(k.public):len(k.public)], 0)), "data"), 0))
		r.dial().do("a key of no bytes", wire.AppendUint32(wire.AppendString(wire.AppendString([]byte{agentcSign}, ""), "data"), 0))
	}},
	{name: "remove cut short", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.must(add(k))
		r.truncations("remove", remove(k))
		c.do("list", list())
		r.dial().do("with bytes after it", append(remove(k), 0))
		c.do("list after that", list())
	}},
	{name: "add cut short", do: func(r *run) {
		for _, kind := range keyKinds {
			r.truncations("add "+kind, add(r.key(kind)))
		}
		k := r.key("ed25519")
		r.dial().do("a length beyond the message", append(wire.AppendString([]byte{agentcAdd}, "ssh-ed25519"), 255, 255, 255, 255, 1, 2))
		r.dial().do("ed25519 with a private half of 63 bytes", add(&key{name: "x", body: wire.AppendString(k.body[:len(k.body)-68:len(k.body)-68], k.body[len(k.body)-64:len(k.body)-1])}))
		r.dial().do("ed25519 with a public half of 31 bytes", add(&key{name: "x", body: append(wire.AppendString(wire.AppendString(nil, "ssh-ed25519"), make([]byte, 31)), k.body[len(k.body)-68:]...)}))
		r.dial().do("list", list())
	}},
	{name: "public keys that are no keys", do: func(r *run) {
		c := r.dial()
		p256 := r.key("p256")
		off := make([]byte, 65)
		off[0] = 4
		point := wire.AppendString(wire.AppendString(nil, "ecdsa-sha2-nistp256"), "nistp256")
		point = wire.AppendString(point, off)
		c.do("a point that is not on the curve", add(&key{name: "x", body: append(point, p256.certTail(r.t)...)}))
		curve := wire.AppendString(wire.AppendString(nil, "ecdsa-sha2-nistp256"), "nistp384")
		m := wire.NewReader(p256.body)
		m.String()
		m.String()
		c.do("a curve that is not the type's", add(&key{name: "x", body: append(curve, m.Rest()...)}))
		c.do("list", list())
	}},
	{name: "malformed lock", do: func(r *run) {
		r.dial().do("lock without a passphrase", []byte{agentcLock})
	}},
	{name: "malformed lock, zero byte", do: func(r *run) {
		r.dial().do("lock with a zero byte inside", lock("a\x00b"))
	}},
	{name: "malformed unlock", do: func(r *run) {
		c := r.dial()
		c.must(lock("secret"))
		r.dial().do("unlock cut short", []byte{agentcUnlock, 0, 0, 0, 6, 's'})
	}},
	{name: "lock with bytes after it", do: func(r *run) {
		r.dial().do("lock", append(lock("secret"), 0))
	}},
}

// raw sends bytes, and notes the answer; where after is given, it is sent next.
func (r *run) raw(step string, raw, after []byte) {
	r.t.Helper()
	c := r.dial()
	err := c.send(raw)
	if err == nil && after != nil {
		err = c.send(frame(after))
	}
	var reply []byte
	if err == nil {
		reply, err = c.receive()
	}
	r.note(step, r.describe(reply, err))
}

// hangUp sends bytes and then ends the sending side.
func (r *run) hangUp(c *client, step string, raw []byte) {
	r.t.Helper()
	err := c.send(raw)
	if err == nil {
		if err = c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err == nil {
			_, err = c.receive()
		}
	}
	r.note(step, r.describe(nil, err))
}

// truncations sends every beginning of a message, each with a right length
// before it, and notes which answers there were (encodings of keys differ in
// length, so not how many).
func (r *run) truncations(step string, msg []byte) {
	r.t.Helper()
	c := r.dial()
	var kinds []string
	for n := 1; n < len(msg); n++ {
		reply, err := c.exchange(msg[:n])
		answer := r.describe(reply, err)
		if answer == "closed" {
			c = r.dial()
		}
		if !slices.Contains(kinds, answer) {
			kinds = append(kinds, answer)
		}
	}
	r.note(step+", each of its beginnings", strings.Join(kinds, ", "))
}
