package keeper

import (
	"context"
	"os"

	"vigil/internal/unixsock"
	"vigil/internal/wire"
)

// SignThroughRequest is the body of OpSignThrough. The keeper replies when it is ready
// for the descriptors, which come with one meaningless byte: the conversation with
// ssh-sk-helper and, where the device is to get its PIN, a pipe that is read to its end,
// of which the first line is the PIN. The keeper replies again with the signature.
type SignThroughRequest struct {
	Key      uint64
	Provider string // of security keys, for ssh-sk-helper
	Data     []byte // to sign
}

// Append appends the encoding of q to b.
func (q SignThroughRequest) Append(b []byte) []byte {
	return append(wire.AppendString(wire.AppendUint64(b, q.Key), q.Provider), q.Data...)
}

// ReadSignThroughRequest reads a request. The error is ErrBadRequest.
func ReadSignThroughRequest(body []byte) (q SignThroughRequest, err error) {
	r := wire.NewReader(body)
	q.Key, q.Provider = r.Uint64(), string(r.String())
	if r.Err() != nil {
		return q, ErrBadRequest
	}
	q.Data = r.Rest()
	return q, nil
}

// SignThrough signs data with a key that is in a security key, and appends the signature
// blob to dst. ssh-sk-helper is at the other end of helper's socketpair: it gets the key's
// handle from the keeper. pin is nil, or a pipe to read the device's PIN from. The caller
// closes both, and ends the helper to end the wait. The error is ErrPIN if the device asks
// for its PIN.
func (c *Client) SignThrough(ctx context.Context, key uint64, data []byte, provider string, helper, pin *os.File, dst []byte) ([]byte, error) {
	k, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer c.put(k)
	if err := k.send(OpSignThrough, SignThroughRequest{key, provider, data}.Append(nil)); err != nil {
		return nil, err
	}
	if _, err := k.receive(nil); err != nil { // the keeper is ready for the descriptor
		return nil, err
	}
	fds := []int{int(helper.Fd())}
	if pin != nil {
		fds = append(fds, int(pin.Fd()))
	}
	if err := unixsock.SendFDsConn(k.c.UnixConn, []byte{0}, fds...); err != nil {
		return nil, k.fail("pass descriptors to keeper", err)
	}
	return k.receive(dst)
}
