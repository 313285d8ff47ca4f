package keeper

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/unixsock"
	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// wired is a Client of one connection, and the keeper's end of that.
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

// asked is what the requests are about.
type asked struct {
	ringtest.Objects
	pins keyring.Pins
	line vaultfile.Revision
	dek  keyring.DEK
}

func (w *world) asked() *asked {
	return &asked{w.Objects(), w.Pins(), w.items[0].Line, w.items[0].DEK}
}

// requests are calls of every kind, with answers that may be malformed.
var requests = []func(ctx context.Context, c *Client, v *asked){
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Sign(ctx, 1, []byte("data"), 0, nil) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.Remove(ctx, 1) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.RemoveAll(ctx) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.GiveFile(ctx, v.File) },
	func(ctx context.Context, c *Client, v *asked) {
		_ = c.ChangeFile(ctx, vaultfile.Delta{Drop: []int{0}, Add: [][]byte{v.line.AppendLine(nil)}})
	},
	func(ctx context.Context, c *Client, v *asked) {
		known := Known{Known: keyring.Known{Pins: v.pins, Last: v.Deks}, Replaced: []id.Revision{v.line.Revision}}
		_, _ = c.Load(ctx, known, v.Members, v.Deks, keyring.Update{Add: []keyring.DEK{v.dek}})
	},
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.SealDraft(ctx, 1, id.NewItem(), []byte("{}")) },
	func(ctx context.Context, c *Client, v *asked) {
		_, _ = c.SealEdited(ctx, v.line.Revision, v.line.Item, []id.Revision{v.line.Revision}, []byte("{}"))
	},
	func(ctx context.Context, c *Client, v *asked) {
		_, _ = c.SealLine(ctx, v.line.AppendLine(nil), []id.Revision{v.line.Revision})
	},
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Verify(ctx) },
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Collect(ctx, time.Unix(1, 0)) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.DropDraft(ctx, 1) },
	func(ctx context.Context, c *Client, v *asked) {
		_, _, _ = c.Deks(ctx, keyring.Update{Remove: []id.Item{v.line.Item}}, time.Unix(1, 0))
	},
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Rotation(ctx, StepRewrap) },
	func(ctx context.Context, c *Client, v *asked) { _ = c.SetDeadlines(ctx, time.Hour, after(time.Hour)) },
	func(ctx context.Context, c *Client, v *asked) { _, _ = c.Stats(ctx) },
}

// FuzzRequests: whatever the front asks, the keeper answers, and no answer holds a
// secret.
func FuzzRequests(f *testing.F) {
	key := ed25519Key(f)
	w := newWorld(f, key)
	for _, request := range requests {
		c, keeper := wired(f)
		seed := make(chan []byte, 1)
		go func() {
			b, _ := ipc.Read(keeper, maxMessage)
			_ = keeper.Close()
			seed <- b
		}()
		request(f.Context(), c, w.asked())
		b := <-seed
		f.Add(b[0], b[1:])
	}
	f.Add(byte(opAdd), addBody(key, "comment"))
	f.Add(byte(opAddBound), append(addBody(key, "comment"), 1, 0, 0, 0, 9))
	f.Add(byte(opLock), wire.AppendString(nil, "passphrase"))
	f.Add(byte(opUnlock), wire.AppendString(nil, "passphrase"))

	wk := worker{server: served(f, w)}
	secrets := [][]byte{w.Owner.Seeds[:32], w.Owner.Seeds[32:], seedOf(f, key)}
	f.Fuzz(func(t *testing.T, o byte, body []byte) {
		if op(o) == opAttach {
			return // waits for a descriptor
		}
		out, err := wk.handle(op(o), body, wk.header())
		if err != nil && statusOf(err) == statusFailed {
			t.Fatalf("an error of no kind: %v", err)
		}
		for i, secret := range secrets {
			if bytes.Contains(out, secret) {
				t.Fatalf("the answer to op %d holds secret %d", o, i)
			}
		}
	})
}

// served is a keeper's server in this process, with the world's vault loaded.
func served(f *testing.F, w *world) *server {
	f.Helper()
	watch, err := guard.NewWatch()
	if err != nil {
		f.Fatal(err)
	}
	slab, err := guard.NewSlab(defaultMemory)
	if err != nil {
		f.Fatal(err)
	}
	s := &server{
		vaultID: w.Vault(), slab: slab, sweeper: guard.NewSweeper(), watch: watch, keys: newTable(),
		drafts: make(map[uint64]*draft), quit: make(chan struct{}), deadlines: deadlines{changed: make(chan struct{}, 1)},
	}
	f.Cleanup(func() {
		s.sweeper.Close()
		_ = slab.Close()
	})
	seeds := guarded(f, w.Owner.Seeds)
	if err := s.takeSeeds(w.Owner.Identity.ID, seeds); err != nil {
		f.Fatal(err)
	}
	o := w.Objects()
	if err := s.takeFile(o.File); err != nil {
		f.Fatal(err)
	}
	r := wire.NewReader(bytes.Join(loadParts(Known{}, o.Members, o.Deks, keyring.Update{}), nil))
	if _, err := s.load(&r, nil); err != nil {
		f.Fatal(err)
	}
	return s
}

// seedOf is an Ed25519 key's private half: the first 32 of the 64 bytes that end
// its encoding.
func seedOf(f *testing.F, key sample) []byte {
	f.Helper()
	if len(key.encoding) < 64 {
		f.Fatal("not an Ed25519 key")
	}
	return key.encoding[len(key.encoding)-64:][:32]
}

// FuzzReplies: whatever a keeper answers, the front reads it or says that it can't.
func FuzzReplies(f *testing.F) {
	v := newWorld(f, ed25519Key(f)).asked()
	for i := range requests {
		for _, s := range []status{statusOK, statusFailed, 200} {
			f.Add(byte(i), append([]byte{byte(s)}, make([]byte, 40)...))
		}
	}
	f.Fuzz(func(t *testing.T, request byte, reply []byte) {
		c, keeper := wired(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer keeper.Close()
			if _, err := ipc.Read(keeper, maxMessage); err == nil {
				_ = ipc.Write(keeper, maxMessage, reply)
			}
		}()
		requests[int(request)%len(requests)](t.Context(), c, v)
		c.closeConns()
		<-done
	})
}
