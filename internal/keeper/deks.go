package keeper

import (
	"context"
	"time"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/wire"
)

// DeksRequest is the body of OpDeks.
type DeksRequest struct {
	Now    uint64 // Unix seconds
	Update keyring.Update
}

// Append appends the encoding of q to b.
func (q DeksRequest) Append(b []byte) []byte {
	return appendUpdate(wire.AppendUint64(b, q.Now), q.Update)
}

// ReadDeksRequest reads a request. The error is ErrBadRequest.
func ReadDeksRequest(body []byte) (q DeksRequest, err error) {
	r := wire.NewReader(body)
	q.Now, q.Update = r.Uint64(), readUpdate(&r)
	return q, requestEnd(&r)
}

// DeksReply is the body of the reply to it.
type DeksReply struct {
	Object  []byte        // the next manifest
	Deleted []keyring.DEK // additions to items that were removed elsewhere
}

// Append appends the encoding of d to b.
func (d DeksReply) Append(b []byte) []byte {
	return appendDEKs(wire.AppendString(b, d.Object), d.Deleted)
}

func readDeksReply(body []byte) (d DeksReply, err error) {
	r := wire.NewReader(body)
	d.Object, d.Deleted = r.String(), readDEKs(&r)
	return d, replyEnd(&r, "deks")
}

// Deks applies an update to the manifest that was loaded last and returns the
// authenticated result, for the backend. Additions to items that were removed
// elsewhere are returned instead of made.
func (c *Client) Deks(ctx context.Context, u keyring.Update, now time.Time) (object []byte, deleted []keyring.DEK, err error) {
	body, err := c.call(ctx, OpDeks, DeksRequest{Now: uint64(now.Unix()), Update: u}.Append(nil))
	if err != nil {
		return nil, nil, err
	}
	reply, err := readDeksReply(body)
	return reply.Object, reply.Deleted, err
}

// Collect returns the manifest without the DEKs that may go, or nil when all
// stay. The vault file that the keeper was given last is this device's own.
func (c *Client) Collect(ctx context.Context, now time.Time) ([]byte, error) {
	return c.object(ctx, OpCollect, Number(now.Unix()).Append(nil))
}

// RotationStep is one of the writes of a rotation; package ring says what each
// does and why in this order. It is the body of OpRotation.
type RotationStep byte

// The steps, in their order.
const (
	StepNewKEK RotationStep = iota + 1 // makes members
	StepRewrap                         // makes deks
	StepRetire                         // makes members
)

// Append appends the encoding of s, 1 byte, to b.
func (s RotationStep) Append(b []byte) []byte { return append(b, byte(s)) }

// ReadRotationStep reads a step, of which there may be none of that number. The
// error is ErrBadRequest.
func ReadRotationStep(body []byte) (RotationStep, error) {
	r := wire.NewReader(body)
	return RotationStep(r.Byte()), requestEnd(&r)
}

// Rotation returns the object that a step writes, made of the keyring that was
// loaded last, or nil when the step has nothing to do.
func (c *Client) Rotation(ctx context.Context, step RotationStep) ([]byte, error) {
	return c.object(ctx, OpRotation, step.Append(nil))
}

// object is call for a reply that is an object of the keyring, or nothing: nil.
func (c *Client) object(ctx context.Context, o Op, body []byte) ([]byte, error) {
	object, err := c.call(ctx, o, body)
	if len(object) == 0 {
		return nil, err
	}
	return object, err
}

func appendUpdate(b []byte, u keyring.Update) []byte {
	b = appendDEKs(b, u.Add)
	b = wire.AppendUint32(b, uint32(len(u.Remove)))
	for i := range u.Remove {
		b = append(b, u.Remove[i][:]...)
	}
	return b
}

func readUpdate(r *wire.Reader) (u keyring.Update) {
	u.Add = readDEKs(r)
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		var item id.Item
		copy(item[:], r.Bytes(len(item)))
		u.Remove = append(u.Remove, item)
	}
	return u
}

func appendDEKs(b []byte, list []keyring.DEK) []byte {
	b = wire.AppendUint32(b, uint32(len(list)))
	for i := range list {
		b = appendDEK(b, &list[i])
	}
	return b
}

func readDEKs(r *wire.Reader) (list []keyring.DEK) {
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		list = append(list, readDEK(r))
	}
	return list
}

func appendDEK(b []byte, e *keyring.DEK) []byte {
	b = append(b, e.Item[:]...)
	b = append(b, e.Revision[:]...)
	b = appendRevisions(b, e.Parents)
	b = append(b, e.Line[:]...)
	b = wire.AppendBool(b, e.Tightens)
	b = append(b, e.Wrapped[:]...)
	b = wire.AppendBool(b, e.Waits)
	return wire.AppendUint64(b, e.Superseded)
}

func readDEK(r *wire.Reader) (e keyring.DEK) {
	copy(e.Item[:], r.Bytes(len(e.Item)))
	copy(e.Revision[:], r.Bytes(len(e.Revision)))
	e.Parents = readRevisions(r)
	copy(e.Line[:], r.Bytes(len(e.Line)))
	e.Tightens = r.Bool()
	copy(e.Wrapped[:], r.Bytes(len(e.Wrapped)))
	e.Waits = r.Bool()
	e.Superseded = r.Uint64()
	return e
}
