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

// Verified is the body of the reply to OpVerify: a part of the vault file was checked.
type Verified struct {
	Next, Total int      // revisions; Next is Total at the end
	Problems    []string // one sentence each
}

// Append appends the encoding of v to b.
func (v Verified) Append(b []byte) []byte {
	b = wire.AppendUint32(wire.AppendUint32(b, uint32(v.Next)), uint32(v.Total))
	for _, problem := range v.Problems {
		b = wire.AppendString(b, problem)
	}
	return b
}

func readVerified(body []byte) (v Verified, err error) {
	r := wire.NewReader(body)
	v.Next, v.Total = int(r.Uint32()), int(r.Uint32())
	for r.Len() > 0 {
		v.Problems = append(v.Problems, string(r.String()))
	}
	return v, replyEnd(&r, "problems")
}

// Verify checks every layer and every item of the keeper's vault file, part by part, so
// that others are served in between; report learns how many revisions of how many are
// done. It returns the problems, one sentence each. The caller keeps the file the same.
func (c *Client) Verify(ctx context.Context, report func(done, total int)) (problems []string, err error) {
	for from := 0; ; {
		reply, err := c.call(ctx, OpVerify, Number(from).Append(nil))
		if err != nil {
			return nil, err
		}
		v, err := readVerified(reply)
		if err != nil {
			return nil, err
		}
		problems = append(problems, v.Problems...)
		report(v.Next, v.Total)
		if v.Next <= from || v.Next >= v.Total {
			return problems, nil
		}
		from = v.Next
	}
}
