package keeper

import (
	"context"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

// Added is a key that ssh-add added.
type Added struct {
	Key     uint64 // its number in this keeper
	Blob    []byte // public key, or the certificate
	Plain   []byte // public key without a certificate
	Comment string
	// Constraints are the encoded constraints, which the front decodes and enforces
	// (agentproto.ParseConstraints).
	Constraints []byte
}

// Append appends the encoding of a to b.
func (a Added) Append(b []byte) []byte {
	b = wire.AppendUint64(b, a.Key)
	b = wire.AppendString(b, a.Blob)
	b = wire.AppendString(b, a.Plain)
	b = wire.AppendString(b, a.Comment)
	return wire.AppendString(b, a.Constraints)
}

func readAdded(body []byte) (Added, error) {
	r := wire.NewReader(body)
	a := Added{Key: r.Uint64(), Blob: r.String(), Plain: r.String(), Comment: string(r.String()), Constraints: r.String()}
	return a, replyEnd(&r, "added key")
}

// Add sends the keeper the body of an add message. The caller frees body.
func (c *Client) Add(ctx context.Context, body *guard.Buffer, constrained bool) (Added, error) {
	o := OpAdd
	if constrained {
		o = OpAddBound
	}
	reply, err := c.call(ctx, o, body.Bytes())
	if err != nil {
		return Added{}, err
	}
	return readAdded(reply)
}

// Remove removes an added key. The error is ErrNoKey if there is no key of that number.
func (c *Client) Remove(ctx context.Context, key uint64) error {
	_, err := c.call(ctx, OpRemove, Number(key).Append(nil))
	return err
}

// RemoveAll removes all added keys.
func (c *Client) RemoveAll(ctx context.Context) error {
	_, err := c.call(ctx, OpRemoveAll)
	return err
}

// Lock sets the passphrase of ssh-add -x; nothing signs until Unlock. body is that of
// SSH_AGENTC_LOCK; the caller frees it. The error is ErrRefused if the keeper is locked.
func (c *Client) Lock(ctx context.Context, body *guard.Buffer) error {
	_, err := c.call(ctx, OpLock, body.Bytes())
	return err
}

// Unlock checks the passphrase of ssh-add -X and ends Lock. body is that of
// SSH_AGENTC_UNLOCK; the caller frees it. The error is ErrWrongPassphrase, or
// ErrRefused if the keeper isn't locked.
func (c *Client) Unlock(ctx context.Context, body *guard.Buffer) error {
	_, err := c.call(ctx, OpUnlock, body.Bytes())
	return err
}
