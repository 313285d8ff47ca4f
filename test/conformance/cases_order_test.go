package conformance

import "fmt"

// orderCases send several requests before they read.
var orderCases = []testCase{
	{name: "answers come in the order of the requests", do: func(r *run) {
		c, rsa, ed := r.dial(), r.key("rsa"), r.key("ed25519")
		var raw []byte
		for _, msg := range [][]byte{
			add(rsa), add(ed), sign(rsa, []byte("slow"), rsaSHA512), sign(ed, []byte("fast"), 0), list(),
			remove(rsa), sign(rsa, []byte("gone"), rsaSHA512),
			{200},
			extension("unknown@example.com"), list(),
		} {
			raw = append(raw, frame(msg)...)
		}
		r.pipelined(c, "ten in one piece", raw, 10)
	}},
	{name: "a message byte by byte", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.must(add(k))
		for i, b := range frame(list()) {
			if err := c.send([]byte{b}); err != nil {
				r.t.Fatalf("byte %d: %v", i, err)
			}
		}
		reply, err := c.receive()
		r.note("list", r.describe(reply, err))
	}},
	{name: "requests, then the end", do: func(r *run) {
		c, k := r.dial(), r.key("ed25519")
		c.must(add(k))
		var raw []byte
		for range 3 {
			raw = append(raw, frame(list())...)
		}
		if err := c.send(raw); err != nil {
			r.t.Fatal(err)
		}
		for i := range 3 {
			reply, err := c.receive()
			r.note(fmt.Sprintf("answer %d", i+1), r.describe(reply, err))
		}
		c.Close()
		r.dial().do("list", list())
	}},
}

// pipelined sends requests in one piece and notes their n answers.
func (r *run) pipelined(c *client, step string, raw []byte, n int) {
	r.t.Helper()
	if err := c.send(raw); err != nil {
		r.t.Fatal(err)
	}
	for i := range n {
		reply, err := c.receive()
		r.note(fmt.Sprintf("%s, answer %d", step, i+1), r.describe(reply, err))
		if err != nil {
			return
		}
	}
}
