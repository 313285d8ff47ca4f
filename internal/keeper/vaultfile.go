package keeper

import (
	"bytes"
	"context"

	"vigil/internal/vaultfile"
	"vigil/internal/wire"
)

// The keeper has the vault file that the front gave it last. A whole file may come
// before the identity, so that it is parsed while Argon2id runs; later, only changes
// are sent. The keeper doesn't use it before a Load.

// Delta is the body of OpFileDelta: changes to the vault file.
type Delta vaultfile.Delta

// Append appends the encoding of d to b.
func (d Delta) Append(b []byte) []byte {
	b = wire.AppendList(b, d.Drop, func(b []byte, at *int) []byte { return wire.AppendUint32(b, uint32(*at)) })
	return wire.AppendList(b, d.Add, func(b []byte, line *[]byte) []byte { return wire.AppendString(b, *line) })
}

// ReadDelta decodes a delta, copying its lines. The error is ErrBadRequest.
func ReadDelta(body []byte) (d vaultfile.Delta, err error) {
	r := wire.NewReader(body)
	d.Drop = wire.ReadList(&r, func(r *wire.Reader) int { return int(r.Uint32()) })
	d.Add = wire.ReadList(&r, func(r *wire.Reader) []byte { return bytes.Clone(r.String()) })
	return d, requestEnd(&r)
}

// GiveFile gives the keeper the text of the vault file for the next Load. The error
// is ErrDamaged for an invalid one; the keeper then keeps the earlier one.
func (c *Client) GiveFile(ctx context.Context, text []byte) error {
	_, err := c.call(ctx, OpFile, text)
	return err
}

// ChangeFile changes the keeper's vault file. After a connection error the keeper's
// file is unknown: give it the whole file.
func (c *Client) ChangeFile(ctx context.Context, d vaultfile.Delta) error {
	_, err := c.call(ctx, OpFileDelta, Delta(d).Append(nil))
	return err
}

// Problems are the body of the reply to OpVerify, one sentence each.
type Problems []string

// Append appends the encoding of p to b.
func (p Problems) Append(b []byte) []byte {
	for _, problem := range p {
		b = wire.AppendString(b, problem)
	}
	return b
}

func readProblems(body []byte) (p Problems, err error) {
	r := wire.NewReader(body)
	for r.Len() > 0 {
		p = append(p, string(r.String()))
	}
	return p, replyEnd(&r, "problems")
}

// Verify checks every layer and every item of the keeper's vault file. It returns the
// problems, one sentence each.
func (c *Client) Verify(ctx context.Context) (problems []string, err error) {
	reply, err := c.call(ctx, OpVerify)
	if err != nil {
		return nil, err
	}
	return readProblems(reply)
}
