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
	// Constraints are the encoded constraints that followed the key, which the
	// front decodes and enforces (agentproto.ParseConstraints).
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

// Add hands the body of an add message, which lies in guarded memory that the
// caller frees, to the keeper.
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

// Remove forgets an added key. The error is ErrNoKey when there is none of that number.
func (c *Client) Remove(ctx context.Context, key uint64) error {
	_, err := c.call(ctx, OpRemove, Number(key).Append(nil))
	return err
}

// RemoveAll forgets all added keys.
func (c *Client) RemoveAll(ctx context.Context) error {
	_, err := c.call(ctx, OpRemoveAll)
	return err
}

// Lock sets the passphrase of ssh-add -x; body is SSH_AGENTC_LOCK's, in guarded
// memory that the caller frees. Until Unlock nothing signs. The error is ErrRefused
// when it is locked already.
func (c *Client) Lock(ctx context.Context, body *guard.Buffer) error {
	_, err := c.call(ctx, OpLock, body.Bytes())
	return err
}

// Unlock checks the passphrase of ssh-add -X and forgets it when it is right;
// otherwise the error is ErrWrongPassphrase, or ErrRefused when there is none. Body
// is SSH_AGENTC_UNLOCK's, in guarded memory that the caller frees.
func (c *Client) Unlock(ctx context.Context, body *guard.Buffer) error {
	_, err := c.call(ctx, OpUnlock, body.Bytes())
	return err
}
