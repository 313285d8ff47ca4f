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

// Removal names what a consent to the removal of an item is for. It stays good, because a
// removed item never comes back.
func Removal(item id.Item) id.Hash { return id.HashOf(append([]byte("remove"), item[:]...)) }

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

// DeksReply is the body of the reply to OpDeks.
type DeksReply struct {
	Object  []byte        // the next manifest
	Deleted []keyring.DEK // additions to items that were removed elsewhere
}

// Append appends the encoding of d to b.
func (d DeksReply) Append(b []byte) []byte {
	return wire.AppendList(wire.AppendString(b, d.Object), d.Deleted, appendDEK)
}

func readDeksReply(body []byte) (d DeksReply, err error) {
	r := wire.NewReader(body)
	d.Object, d.Deleted = r.String(), wire.ReadList(&r, readDEK)
	return d, replyEnd(&r, "deks")
}

// Deks applies an update to the last loaded manifest and returns the authenticated result,
// for the backend. Additions to items removed elsewhere are returned as deleted instead.
// The error is ErrRefused if a removal lacks its consent.
func (c *Client) Deks(ctx context.Context, u keyring.Update, now time.Time) (object []byte, deleted []keyring.DEK, err error) {
	body, err := c.call(ctx, OpDeks, DeksRequest{Now: uint64(now.Unix()), Update: u}.Append(nil))
	if err != nil {
		return nil, nil, err
	}
	reply, err := readDeksReply(body)
	return reply.Object, reply.Deleted, err
}

// Collect returns the manifest without the unneeded DEKs, or nil if all are needed.
// The keeper's vault file must be this device's own.
func (c *Client) Collect(ctx context.Context, now time.Time) ([]byte, error) {
	return c.object(ctx, OpCollect, Number(now.Unix()).Append(nil))
}

// RotationStep is one write of a rotation. Package ring explains the steps and their
// order. It is the body of OpRotation.
type RotationStep byte

// The steps, in their order.
const (
	StepNewKEK RotationStep = iota + 1 // makes members
	StepRewrap                         // makes deks
	StepRetire                         // makes members
)

// Append appends the encoding of s, 1 byte, to b.
func (s RotationStep) Append(b []byte) []byte { return append(b, byte(s)) }

// ReadRotationStep decodes a step, which may be unknown. The error is ErrBadRequest.
func ReadRotationStep(body []byte) (RotationStep, error) {
	r := wire.NewReader(body)
	return RotationStep(r.Byte()), requestEnd(&r)
}

// Rotation returns the object that a step writes, made from the last loaded keyring,
// or nil if the step has nothing to do.
func (c *Client) Rotation(ctx context.Context, step RotationStep) ([]byte, error) {
	return c.object(ctx, OpRotation, step.Append(nil))
}

// object is call for a reply that is an object of the keyring, or empty (nil).
func (c *Client) object(ctx context.Context, o Op, body []byte) ([]byte, error) {
	object, err := c.call(ctx, o, body)
	if len(object) == 0 {
		return nil, err
	}
	return object, err
}

func appendUpdate(b []byte, u keyring.Update) []byte {
	b = wire.AppendList(b, u.Add, appendDEK)
	b = wire.AppendList(b, u.Remove, func(b []byte, item *id.Item) []byte { return append(b, item[:]...) })
	return wire.AppendList(b, u.Consents, func(b []byte, c *[]byte) []byte { return wire.AppendString(b, *c) })
}

func readUpdate(r *wire.Reader) keyring.Update {
	return keyring.Update{Add: wire.ReadList(r, readDEK), Remove: wire.ReadList(r, readItemID), Consents: wire.ReadList(r, (*wire.Reader).String)}
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
	e.Item, e.Revision, e.Parents = readItemID(r), readRevision(r), readRevisions(r)
	copy(e.Line[:], r.Bytes(len(e.Line)))
	e.Tightens = r.Bool()
	copy(e.Wrapped[:], r.Bytes(len(e.Wrapped)))
	e.Waits = r.Bool()
	e.Superseded = r.Uint64()
	return e
}
