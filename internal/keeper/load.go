package keeper

import (
	"context"
	"slices"

	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/wire"
)

// Known is what this device knew of the vault before.
type Known struct {
	keyring.Known
	// Replaced are revisions that must not be used again: this device has had a line
	// that descends from them.
	Replaced []id.Revision
}

// LoadRequest is the body of OpLoad.
type LoadRequest struct {
	Known         Known
	Members, Deks []byte         // objects of the keyring
	Waiting       keyring.Update // changes that the backend doesn't have yet
}

// Parts returns the encoding of q in parts. The keyring's objects are parts of their
// own and aren't copied.
func (q LoadRequest) Parts() [][]byte {
	head := appendRevisions(appendPins(nil, q.Known.Pins), q.Known.Replaced)
	return [][]byte{
		wire.AppendUint32(head, uint32(len(q.Known.Last))), q.Known.Last,
		wire.AppendUint32(nil, uint32(len(q.Members))), q.Members,
		wire.AppendUint32(nil, uint32(len(q.Deks))), q.Deks, appendUpdate(nil, q.Waiting),
	}
}

// ReadLoadRequest reads a request. The error is ErrBadRequest.
func ReadLoadRequest(body []byte) (q LoadRequest, err error) {
	r := wire.NewReader(body)
	q.Known.Pins = readPins(&r)
	q.Known.Replaced = readRevisions(&r)
	if last := r.String(); len(last) > 0 {
		q.Known.Last = last
	}
	q.Members, q.Deks = r.String(), r.String()
	q.Waiting = readUpdate(&r)
	return q, requestEnd(&r)
}

// Loaded is the result of a Load.
type Loaded struct {
	Pins keyring.Pins // of the keyring that is in use now
	// OpensKEK: the newest KEK is sealed to this identity, so it can write.
	OpensKEK bool
	// Waiting is how many lines of the vault file have no DEK yet.
	Waiting int
	// Missing are revisions in use whose lines the vault file lacks.
	Missing []Missing
	// Replaced is the next Known.Replaced, sorted.
	Replaced []id.Revision
	Items    []Item
}

// Append appends the encoding of l to b.
func (l *Loaded) Append(b []byte) []byte {
	b = appendPins(b, l.Pins)
	b = wire.AppendBool(b, l.OpensKEK)
	b = wire.AppendUint32(b, uint32(l.Waiting))
	b = wire.AppendList(b, l.Missing, func(b []byte, m *Missing) []byte { return append(append(b, m.Item[:]...), m.Revision[:]...) })
	b = appendRevisions(b, l.Replaced)
	size := 0
	for i := range l.Items {
		size += itemOverhead + len(l.Items[i].Meta) + len(l.Items[i].Problem)
	}
	b = slices.Grow(b, size)
	return wire.AppendList(b, l.Items, appendItem)
}

func readLoaded(body []byte) (*Loaded, error) {
	r := wire.NewReader(body)
	l := &Loaded{
		Pins: readPins(&r), OpensKEK: r.Bool(), Waiting: int(r.Uint32()),
		Missing:  wire.ReadList(&r, func(r *wire.Reader) Missing { return Missing{readItemID(r), readRevision(r)} }),
		Replaced: readRevisions(&r), Items: wire.ReadList(&r, readItem),
	}
	return l, replyEnd(&r, "loaded items")
}

// Missing is a revision whose line isn't in the vault file.
type Missing struct {
	Item     id.Item
	Revision id.Revision
}

// Item is a revision that the keeper opened or failed to open.
type Item struct {
	Key      uint64 // for Sign; 0: State or Problem says why there is none
	Item     id.Item
	Revision id.Revision
	State    ItemState
	Meta     []byte // canonical JSON; nil: reported by an earlier Load
	Problem  string // why it can't be opened, or ""
}

// ItemState says how a revision can be used.
type ItemState byte

// The states. An item with a Problem has none.
const (
	ItemReady    ItemState = iota
	ItemOutdated           // signs; its successor's line is missing from the vault file
	ItemHeld               // doesn't sign: its successor's line is missing, and is stricter
	ItemReplaced           // doesn't sign: its successor was here, and is missing now
)

// itemOverhead is the size in bytes of an item's encoding without Meta and Problem.
const itemOverhead = 8 + 2*16 + 1 + 2*4

func appendItem(b []byte, it *Item) []byte {
	b = wire.AppendUint64(b, it.Key)
	b = append(b, it.Item[:]...)
	b = append(b, it.Revision[:]...)
	b = append(b, byte(it.State))
	b = wire.AppendString(b, it.Meta)
	return wire.AppendString(b, it.Problem)
}

func readItem(r *wire.Reader) Item {
	it := Item{Key: r.Uint64(), Item: readItemID(r), Revision: readRevision(r), State: ItemState(r.Byte())}
	if meta := r.String(); len(meta) > 0 {
		it.Meta = meta
	}
	it.Problem = string(r.String())
	return it
}

// Load gives the keeper a keyring and the waiting changes, for the vault file that it was
// last given. The keeper verifies them against known and what it has seen itself. After
// an error (ErrDamaged, ErrRollback, ErrNoIdentity), what was loaded before stays in use.
func (c *Client) Load(ctx context.Context, known Known, members, deks []byte, waiting keyring.Update) (*Loaded, error) {
	q := LoadRequest{Known: known, Members: members, Deks: deks, Waiting: waiting}
	reply, err := c.call(ctx, OpLoad, q.Parts()...)
	if err != nil {
		return nil, err
	}
	return readLoaded(reply)
}

func appendPins(b []byte, p keyring.Pins) []byte {
	b = wire.AppendUint64(b, p.Members.Seq)
	b = append(b, p.Members.Hash[:]...)
	b = wire.AppendUint64(b, p.Deks.KEK)
	b = wire.AppendUint64(b, p.Deks.Epoch)
	return append(b, p.Deks.SHA256[:]...)
}

func readPins(r *wire.Reader) (p keyring.Pins) {
	p.Members.Seq = r.Uint64()
	copy(p.Members.Hash[:], r.Bytes(len(p.Members.Hash)))
	p.Deks.KEK, p.Deks.Epoch = r.Uint64(), r.Uint64()
	copy(p.Deks.SHA256[:], r.Bytes(len(p.Deks.SHA256)))
	return p
}

func appendRevisions(b []byte, list []id.Revision) []byte {
	return wire.AppendList(b, list, func(b []byte, r *id.Revision) []byte { return append(b, r[:]...) })
}

func readRevisions(r *wire.Reader) []id.Revision { return wire.ReadList(r, readRevision) }

func readRevision(r *wire.Reader) (revision id.Revision) {
	copy(revision[:], r.Bytes(len(revision)))
	return revision
}

func readItemID(r *wire.Reader) (item id.Item) {
	copy(item[:], r.Bytes(len(item)))
	return item
}
