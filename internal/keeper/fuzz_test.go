package keeper

import (
	"context"
	"io"
	"testing"
	"time"

	"vigil/internal/clock"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/unixsock"
	"vigil/internal/vaultfile"
)

// wired returns a Client with one connection, and the keeper's end of it.
func wired(t testing.TB) (*Client, io.ReadWriteCloser) {
	t.Helper()
	ours, theirs, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := unixsock.NewStream(ours)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{child: &ipc.Child{}, conns: []*conn{{c: stream}}, free: make(chan struct{}, 1)}
	c.idle = append(c.idle, c.conns...)
	c.free <- struct{}{}
	t.Cleanup(c.closeConns)
	return c, theirs
}

// asked holds the arguments of the requests.
type asked struct {
	ringtest.Objects
	pins keyring.Pins
	line vaultfile.Revision
	dek  keyring.DEK
}

// requests are calls of every kind. The replies may be malformed.
var requests = []func(ctx context.Context, c *Client, v *asked){
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Sign(ctx, 1, []byte("data"), 0, nil) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.Remove(ctx, 1) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.RemoveAll(ctx) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.GiveFile(ctx, v.File) },
	func(ctx context.Context, c *Client, v *asked) {
		_ = c.ChangeFile(ctx, vaultfile.Delta{Drop: []int{0}, Add: [][]byte{v.line.Text()}})
	},
	func(ctx context.Context, c *Client, v *asked) {
		known := Known{Known: keyring.Known{Pins: v.pins, Last: v.Deks}, Replaced: []id.Revision{v.line.Revision}}
		_, _ = c.Load(ctx, known, v.Members, v.Deks, keyring.Update{Add: []keyring.DEK{v.dek}})
	},
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.SealDraft(ctx, 1, id.NewItem(), []byte("{}")) },
	func(ctx context.Context, c *Client, v *asked) {
		_, _ = c.SealEdited(ctx, Edit(v.line.Revision, v.line.Item, []id.Revision{v.line.Revision}, []byte("{}")))
	},
	func(ctx context.Context, c *Client, v *asked) {
		_, _ = c.SealLine(ctx, Repeat(v.line.Text(), []id.Revision{v.line.Revision}))
	},
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Verify(ctx, func(int, int) {}) },
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Collect(ctx, time.Unix(1, 0)) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.DropDraft(ctx, 1) },
	func(ctx context.Context, c *Client, v *asked) {
		_, _, _ = c.Deks(ctx, keyring.Update{Remove: []id.Item{v.line.Item}}, time.Unix(1, 0))
	},
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Rotation(ctx, StepRewrap) },
	func(ctx context.Context, c *Client, v *asked) {
		_ = c.SetDeadlines(ctx, time.Hour, clock.Now().After(time.Hour))
	},
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Stats(ctx) },
}

// FuzzReplies: the front decodes any reply or returns an error.
func FuzzReplies(f *testing.F) {
	w := ringtest.New(f)
	item := w.Seal(id.NewItem(), "work", []byte("public"), []byte("private"))
	w.Push(item)
	v := &asked{w.Objects(), w.Pins(), item.Line, item.DEK}
	for i := range requests {
		for _, s := range []Status{StatusOK, StatusFailed, 200} {
			f.Add(byte(i), append([]byte{byte(s)}, make([]byte, 40)...))
		}
	}
	f.Fuzz(func(t *testing.T, request byte, reply []byte) {
		c, keeper := wired(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer keeper.Close()
			if _, err := ipc.Read(keeper, MaxMessage); err == nil {
				_ = ipc.Write(keeper, MaxMessage, reply)
			}
		}()
		requests[int(request)%len(requests)](t.Context(), c, v)
		c.closeConns()
		<-done
	})
}
