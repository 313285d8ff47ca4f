package keeper

import (
	"context"

	"vigil/internal/wire"
)

// SignRequest is the body of OpSign.
type SignRequest struct {
	Key   uint64
	Flags uint32 // those of SSH_AGENTC_SIGN_REQUEST, or agentproto.FlagRSASHA1
	Data  []byte // to sign
}

// signHeadLen is the size of what precedes the data, in bytes.
const signHeadLen = 8 + 4

// appendHead appends all but the data.
func (q SignRequest) appendHead(b []byte) []byte {
	return wire.AppendUint32(wire.AppendUint64(b, q.Key), q.Flags)
}

// Append appends the encoding of q to b.
func (q SignRequest) Append(b []byte) []byte { return append(q.appendHead(b), q.Data...) }

// ReadSignRequest reads a request. The error is ErrBadRequest.
func ReadSignRequest(body []byte) (q SignRequest, err error) {
	r := wire.NewReader(body)
	q.Key, q.Flags = r.Uint64(), r.Uint32()
	if r.Err() != nil {
		return q, ErrBadRequest
	}
	q.Data = r.Rest()
	return q, nil
}

// Sign signs data with a key and appends the signature blob (RFC 4253 section 6.6) to
// dst. flags are SignRequest's.
func (c *Client) Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error) {
	k, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer c.put(k)
	q := SignRequest{Key: key, Flags: flags, Data: data}
	if HeaderLen+signHeadLen+len(data) <= len(k.buf) {
		err = k.sendBuf(OpSign, q.Append(k.buf[:HeaderLen]))
	} else {
		err = k.send(OpSign, q.appendHead(nil), data)
	}
	if err != nil {
		return nil, err
	}
	return k.receive(dst)
}
