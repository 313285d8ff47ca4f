package keeper

import (
	"context"
	"os"

	"vigil/internal/id"
	"vigil/internal/unixsock"
	"vigil/internal/wire"
)

// AttachKind says what an opener hands over through its private socketpair. It is the
// body of OpAttach. The keeper replies when it is ready for the descriptor, which
// comes with one meaningless byte, and again when it has received the opener's data.
type AttachKind byte

// The kinds.
const (
	AttachIdentity AttachKind = iota + 1 // an identity's private keys
	AttachKey                            // an imported or generated key
)

// Append appends the encoding of k, 1 byte, to b.
func (k AttachKind) Append(b []byte) []byte { return append(b, byte(k)) }

// ReadAttachKind decodes a kind, which may be unknown. The error is ErrBadRequest.
func ReadAttachKind(body []byte) (AttachKind, error) {
	r := wire.NewReader(body)
	return AttachKind(r.Byte()), requestEnd(&r)
}

// Identity is the body of the reply to AttachIdentity: whose private keys were received.
type Identity id.Identity

// Append appends the encoding of i to b.
func (i Identity) Append(b []byte) []byte { return append(b, i[:]...) }

func readIdentity(body []byte) (i id.Identity, err error) {
	r := wire.NewReader(body)
	copy(i[:], r.Bytes(len(i)))
	return i, replyEnd(&r, "attached identity")
}

// Draft is a private key that the keeper holds but hasn't sealed yet.
type Draft struct {
	Number uint64
	Type   string // of the public key, such as "ssh-ed25519"
	Public []byte // blob
}

// Append appends the encoding of d to b.
func (d Draft) Append(b []byte) []byte {
	b = wire.AppendUint64(b, d.Number)
	b = wire.AppendString(b, d.Type)
	return wire.AppendString(b, d.Public)
}

func readDraft(body []byte) (Draft, error) {
	r := wire.NewReader(body)
	d := Draft{Number: r.Uint64(), Type: string(r.String()), Public: r.String()}
	return d, replyEnd(&r, "attached key")
}

// AttachIdentity lets the opener at the other end of end's socketpair hand over an
// identity's private keys, and returns whose they are. The caller closes end.
func (c *Client) AttachIdentity(ctx context.Context, end *os.File) (id.Identity, error) {
	reply, err := c.attach(ctx, AttachIdentity, end)
	if err != nil {
		return id.Identity{}, err
	}
	return readIdentity(reply)
}

// AttachKey lets an opener hand over one private key. The caller closes end.
func (c *Client) AttachKey(ctx context.Context, end *os.File) (Draft, error) {
	reply, err := c.attach(ctx, AttachKey, end)
	if err != nil {
		return Draft{}, err
	}
	return readDraft(reply)
}

// DropDraft removes a key that won't be sealed.
func (c *Client) DropDraft(ctx context.Context, draft uint64) error {
	_, err := c.call(ctx, OpDropDraft, Number(draft).Append(nil))
	return err
}

// attach passes the keeper its end of an opener's private socketpair, and returns the
// keeper's reply. The keeper serves the socketpair until the opener closes it or ctx ends.
func (c *Client) attach(ctx context.Context, kind AttachKind, end *os.File) ([]byte, error) {
	if err := c.untraced(); err != nil {
		return nil, err
	}
	k, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer c.put(k)
	if err := k.send(OpAttach, kind.Append(nil)); err != nil {
		return nil, err
	}
	if _, err := k.receive(nil); err != nil { // the keeper is ready for the descriptor
		return nil, err
	}
	if err := unixsock.SendFDsConn(k.c.UnixConn, []byte{0}, int(end.Fd())); err != nil {
		return nil, k.fail("pass descriptor to keeper", err)
	}
	return k.receive(nil)
}
