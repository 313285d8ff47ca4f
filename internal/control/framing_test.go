package control

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// raw is a client that can send anything.
type raw struct {
	t *testing.T
	*channel
}

func dialRaw(t *testing.T, path string) raw {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := raw{t, &channel{conn: conn}}
	if err := r.write(hello{helloName, helloVersion, "unknown"}, maxRequest); err != nil {
		t.Fatal(err)
	}
	if _, err := r.readHello(maxRequest); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r raw) send(text string, fds ...int) {
	r.t.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	if _, _, err := r.conn.WriteMsgUnix(append(b, text...), unix.UnixRights(fds...), nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r raw) receive() response {
	r.t.Helper()
	f, err := r.readFrame(maxReply, func() {})
	if err != nil {
		r.t.Fatal(err)
	}
	var reply response
	if err := json.Unmarshal(f.body, &reply); err != nil {
		r.t.Fatal(err)
	}
	return reply
}

func TestStrictDecoding(t *testing.T) {
	h := &fake{unlock: func(context.Context, *Call, *UnlockRequest) (*UnlockReply, error) { return &UnlockReply{}, nil }}
	path := serve(t, h)
	fd := func() int { return int(pipe(t, "x").Fd()) }
	for name, tc := range map[string]struct {
		text string
		fds  int
		ok   bool
	}{
		"good":              {`{"op":"unlock","files":["passphrase"],"body":{"vault":"a"}}`, 1, true},
		"no body":           {`{"op":"version"}`, 0, true},
		"empty":             {``, 0, false},
		"not JSON":          {`nonsense`, 0, false},
		"unknown operation": {`{"op":"steal"}`, 0, false},
		"unknown member":    {`{"op":"version","x":1}`, 0, false},
		"unknown in body":   {`{"op":"unlock","files":["passphrase"],"body":{"passphrase":"a"}}`, 1, false},
		"two values":        {`{"op":"version"}{}`, 0, false},
		"body not object":   {`{"op":"unlock","files":["passphrase"],"body":[]}`, 1, false},
		"file missing":      {`{"op":"unlock"}`, 0, false},
		"file not named":    {`{"op":"version"}`, 1, false},
		"file not sent":     {`{"op":"unlock","files":["passphrase"]}`, 0, false},
		"file unknown":      {`{"op":"unlock","files":["key_file"]}`, 1, false},
		"file twice":        {`{"op":"unlock","files":["passphrase","passphrase"]}`, 2, false},
		"answer unasked":    {`{"answer":{"yes":true}}`, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, path)
			var fds []int
			for range tc.fds {
				fds = append(fds, fd())
			}
			r.send(tc.text, fds...)
			got := r.receive()
			if tc.ok != (got.Error == nil) {
				t.Fatalf("answer: %+v", got)
			}
			if !tc.ok && got.Error.Code != CodeUsage {
				t.Errorf("code %s, want usage", got.Error.Code)
			}
			r.send(`{"op":"version"}`) // the connection is still usable
			if got := r.receive(); got.Error != nil {
				t.Errorf("next request: %+v", got.Error)
			}
		})
	}
}

func TestConnectionsThatBreakTheFramingAreClosed(t *testing.T) {
	path := serve(t, &fake{})
	fd := int(pipe(t, "x").Fd())
	for name, send := range map[string]func(raw){
		"longer than allowed": func(r raw) { _, _ = r.conn.Write([]byte{0x7f, 0xff, 0xff, 0xff}) },
		"too many files": func(r raw) {
			fds := make([]int, maxFiles+1)
			for i := range fds {
				fds[i] = fd
			}
			r.send(`{"op":"version"}`, fds...)
		},
		"half a message": func(r raw) { _, _ = r.conn.Write([]byte{0, 0, 0, 9, '{'}); _ = r.conn.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, path)
			send(r)
			if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("read: %v, want the end", err)
			}
		})
	}
}
