package keeper

import (
	"context"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/wire"
)

// SealRequest is the body of OpSeal: a new revision of an item.
type SealRequest struct {
	Draft   uint64        // the new private key; 0: Source's
	Source  id.Revision   // a revision in use
	Item    id.Item       // of the new revision
	Parents []id.Revision // the revisions it replaces, sorted
	Meta    []byte        // canonical JSON
	Consent []byte        // to Change, by who has both factors; empty: none
}

// Change names what a consent to q is for.
func (q SealRequest) Change() id.Hash {
	q.Consent = nil
	return id.HashOf(q.Append([]byte("seal")))
}

// Append appends the encoding of q to b.
func (q SealRequest) Append(b []byte) []byte {
	b = wire.AppendUint64(b, q.Draft)
	b = append(b, q.Source[:]...)
	b = append(b, q.Item[:]...)
	b = appendRevisions(b, q.Parents)
	return wire.AppendString(wire.AppendString(b, q.Meta), q.Consent)
}

// ReadSealRequest reads a request. The error is ErrBadRequest.
func ReadSealRequest(body []byte) (q SealRequest, err error) {
	r := wire.NewReader(body)
	q = SealRequest{Draft: r.Uint64(), Source: readRevision(&r), Item: readItemID(&r), Parents: readRevisions(&r), Meta: r.String(), Consent: r.String()}
	return q, requestEnd(&r)
}

// SealLineRequest is the body of OpSealLine: a new revision that repeats an earlier one.
type SealLineRequest struct {
	Line    []byte        // of the earlier revision, without its line feed
	Parents []id.Revision // the revisions it replaces, sorted
	Consent []byte        // as in SealRequest
}

// Change names what a consent to q is for.
func (q SealLineRequest) Change() id.Hash {
	q.Consent = nil
	return id.HashOf(q.Append([]byte("seal line")))
}

// Append appends the encoding of q to b.
func (q SealLineRequest) Append(b []byte) []byte {
	return wire.AppendString(appendRevisions(wire.AppendString(b, q.Line), q.Parents), q.Consent)
}

// ReadSealLineRequest reads a request. The error is ErrBadRequest.
func ReadSealLineRequest(body []byte) (q SealLineRequest, err error) {
	r := wire.NewReader(body)
	q.Line, q.Parents, q.Consent = r.String(), readRevisions(&r), r.String()
	return q, requestEnd(&r)
}

// Sealed is a new revision: its line of the vault file, without the line feed, and
// its entry in deks.
type Sealed struct {
	Line []byte
	DEK  keyring.DEK
}

// Append appends the encoding of s to b.
func (s Sealed) Append(b []byte) []byte { return appendDEK(wire.AppendString(b, s.Line), &s.DEK) }

func readSealed(body []byte) (s Sealed, err error) {
	r := wire.NewReader(body)
	s.Line, s.DEK = r.String(), readDEK(&r)
	return s, replyEnd(&r, "sealed item")
}

// SealDraft makes the first revision of a new item from a draft, which it consumes.
func (c *Client) SealDraft(ctx context.Context, draft uint64, item id.Item, meta []byte) (Sealed, error) {
	return c.seal(ctx, OpSeal, SealRequest{Draft: draft, Item: item, Meta: meta}.Append(nil))
}

// Edit returns the request for a revision of an item with other metadata and the private
// key of revision from. It replaces parents.
func Edit(from id.Revision, item id.Item, parents []id.Revision, meta []byte) SealRequest {
	return SealRequest{Source: from, Item: item, Parents: keyring.SortParents(parents), Meta: meta}
}

// Repeat returns the request for a revision that repeats an earlier one. It replaces parents.
func Repeat(line []byte, parents []id.Revision) SealLineRequest {
	return SealLineRequest{Line: line, Parents: keyring.SortParents(parents)}
}

// SealEdited makes the revision. The error is ErrLoosens if it lets the key do more than
// those in use, and nobody has consented to it.
func (c *Client) SealEdited(ctx context.Context, q SealRequest) (Sealed, error) {
	return c.seal(ctx, OpSeal, q.Append(nil))
}

// SealLine is SealEdited for an earlier revision. The error is ErrNoKey if its DEK is gone.
func (c *Client) SealLine(ctx context.Context, q SealLineRequest) (Sealed, error) {
	return c.seal(ctx, OpSealLine, q.Append(nil))
}

func (c *Client) seal(ctx context.Context, o Op, body []byte) (Sealed, error) {
	reply, err := c.call(ctx, o, body)
	if err != nil {
		return Sealed{}, err
	}
	return readSealed(reply)
}
