package keeper

import (
	"context"
	"fmt"
	"os"
	"time"

	"vigil/internal/clock"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/wire"
)

// Known is what this device knows of the vault from before.
type Known struct {
	keyring.Known
	// Replaced are revisions that must not serve again: this device has had the
	// line of one that descends from them.
	Replaced []id.Revision
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

func readKnown(r *wire.Reader) (k Known) {
	k.Pins = readPins(r)
	k.Replaced = readRevisions(r)
	if last := r.String(); len(last) > 0 {
		k.Last = last
	}
	return k
}

// ItemState says what a revision is good for.
type ItemState byte

// The states. An item with a Problem has none.
const (
	ItemReady    ItemState = iota
	ItemOutdated           // it signs; its successor's line is not in the vault file
	ItemHeld               // it doesn't sign: its successor's line isn't there, and is stricter
	ItemReplaced           // it doesn't sign: its successor was here, and is gone
)

// Item is a revision that the keeper can open, or failed to.
type Item struct {
	Key      uint64 // for Sign; 0 when State or Problem says why there is none
	Item     id.Item
	Revision id.Revision
	State    ItemState
	Meta     []byte // canonical JSON; nil when an earlier Load reported it
	Problem  string
}

func appendItem(b []byte, it *item) []byte {
	b = wire.AppendUint64(b, it.number)
	b = append(b, it.line.Item[:]...)
	b = append(b, it.line.Revision[:]...)
	b = append(b, byte(it.state))
	b = wire.AppendString(b, it.meta)
	return wire.AppendString(b, it.problem)
}

func readItem(r *wire.Reader) Item {
	it := Item{Key: r.Uint64()}
	copy(it.Item[:], r.Bytes(len(it.Item)))
	copy(it.Revision[:], r.Bytes(len(it.Revision)))
	it.State = ItemState(r.Byte())
	if meta := r.String(); len(meta) > 0 {
		it.Meta = meta
	}
	it.Problem = string(r.String())
	return it
}

// Loaded is what a Load made usable.
type Loaded struct {
	Pins keyring.Pins // of the keyring that is in use now
	// OpensKEK: the newest KEK is sealed to this identity, so that it can write.
	OpensKEK bool
	Items    []Item
	// Waiting is how many lines of the vault file have no DEK yet.
	Waiting int
	// Missing are revisions in use whose lines the vault file lacks.
	Missing []Missing
	// Replaced is what Known should have from now on, sorted.
	Replaced []id.Revision
}

// Missing is a revision whose line isn't in the vault file.
type Missing struct {
	Item     id.Item
	Revision id.Revision
}

// Load gives the keeper a keyring and the changes that wait, for the vault file
// that it was given last. It verifies them against what is known and what it has
// seen itself; on an error (ErrDamaged, ErrRollback, ErrNoIdentity) what was
// loaded before stays in use.
func (c *Client) Load(ctx context.Context, known Known, members, deks []byte, waiting keyring.Update) (*Loaded, error) {
	reply, err := c.call(ctx, opLoad, loadParts(known, members, deks, waiting)...)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(reply)
	l := &Loaded{Pins: readPins(&r), OpensKEK: r.Bool(), Waiting: int(r.Uint32())}
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		var m Missing
		copy(m.Item[:], r.Bytes(len(m.Item)))
		copy(m.Revision[:], r.Bytes(len(m.Revision)))
		l.Missing = append(l.Missing, m)
	}
	l.Replaced = readRevisions(&r)
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		l.Items = append(l.Items, readItem(&r))
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("read loaded items: %w", err)
	}
	return l, nil
}

// loadParts are the body of a Load. The keyring's objects, which may be large,
// aren't copied.
func loadParts(known Known, members, deks []byte, waiting keyring.Update) [][]byte {
	head := appendRevisions(appendPins(nil, known.Pins), known.Replaced)
	return [][]byte{
		wire.AppendUint32(head, uint32(len(known.Last))), known.Last,
		wire.AppendUint32(nil, uint32(len(members))), members,
		wire.AppendUint32(nil, uint32(len(deks))), deks, appendUpdate(nil, waiting),
	}
}

// AttachIdentity lets an opener at the other end of end's socketpair hand over
// an identity's private halves.
func (c *Client) AttachIdentity(ctx context.Context, end *os.File) (identity id.Identity, err error) {
	reply, err := c.attach(ctx, attachIdentity, end)
	if err != nil {
		return identity, err
	}
	if len(reply) != len(identity) {
		return identity, fmt.Errorf("read attached identity: %w", wire.ErrShort)
	}
	return id.Identity(reply), nil
}

// Draft is a private key that the keeper has and that isn't sealed yet.
type Draft struct {
	Number uint64
	Type   string
	Public []byte // blob
}

// AttachKey lets an opener hand over one private key.
func (c *Client) AttachKey(ctx context.Context, end *os.File) (Draft, error) {
	reply, err := c.attach(ctx, attachKeys, end)
	if err != nil {
		return Draft{}, err
	}
	r := wire.NewReader(reply)
	d := Draft{Number: r.Uint64(), Type: string(r.String()), Public: r.String()}
	if err := r.End(); err != nil {
		return Draft{}, fmt.Errorf("read attached key: %w", err)
	}
	return d, nil
}

// Sealed is a new revision: a line of the vault file, without its line feed,
// and its entry of deks.
type Sealed struct {
	Line []byte
	DEK  keyring.DEK
}

// SealDraft makes the first revision of a new item of a draft, which is gone afterwards.
func (c *Client) SealDraft(ctx context.Context, draft uint64, item id.Item, meta []byte) (Sealed, error) {
	return c.seal(ctx, fromDraft, draft, id.Revision{}, item, nil, meta)
}

// SealEdited makes a revision of an item with other metadata and the private
// key of the revision from; parents are the revisions it replaces.
func (c *Client) SealEdited(ctx context.Context, from id.Revision, item id.Item, parents []id.Revision, meta []byte) (Sealed, error) {
	return c.seal(ctx, fromRevision, 0, from, item, keyring.SortParents(parents), meta)
}

func (c *Client) seal(ctx context.Context, from byte, draft uint64, source id.Revision, item id.Item, parents []id.Revision, meta []byte) (s Sealed, err error) {
	b := wire.AppendUint64([]byte{from}, draft)
	b = append(b, source[:]...)
	b = append(b, item[:]...)
	b = appendRevisions(b, parents)
	reply, err := c.call(ctx, opSeal, wire.AppendString(b, meta))
	if err != nil {
		return s, err
	}
	return readSealed(reply)
}

func readSealed(reply []byte) (s Sealed, err error) {
	r := wire.NewReader(reply)
	s.Line, s.DEK = r.String(), readDEK(&r)
	if err := r.End(); err != nil {
		return s, fmt.Errorf("read sealed item: %w", err)
	}
	return s, nil
}

// Deks applies an update to the manifest that was loaded last and returns the
// authenticated result, for the backend. Additions to items that were removed
// elsewhere are returned instead of made.
func (c *Client) Deks(ctx context.Context, u keyring.Update, now time.Time) (object []byte, deleted []keyring.DEK, err error) {
	reply, err := c.call(ctx, opDeks, appendUpdate(wire.AppendUint64(nil, uint64(now.Unix())), u))
	if err != nil {
		return nil, nil, err
	}
	r := wire.NewReader(reply)
	object = r.String()
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		deleted = append(deleted, readDEK(&r))
	}
	if err := r.End(); err != nil {
		return nil, nil, fmt.Errorf("read deks: %w", err)
	}
	return object, deleted, nil
}

// SetDeadlines makes the keeper end when no key was used for idle, or when the
// lease does; 0 and the zero moment are no such deadline.
func (c *Client) SetDeadlines(ctx context.Context, idle time.Duration, lease clock.Instant) error {
	b := wire.AppendUint64(nil, uint64(idle))
	b = wire.AppendUint64(b, uint64(lease.Boot()))
	_, err := c.call(ctx, opDeadlines, wire.AppendUint64(b, uint64(lease.UnixNano())))
	return err
}

// Stats asks what the keeper holds now.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	reply, err := c.call(ctx, opStats)
	if err != nil {
		return Stats{}, err
	}
	r := wire.NewReader(reply)
	s := readStats(&r)
	if err := r.End(); err != nil {
		return Stats{}, fmt.Errorf("read stats: %w", err)
	}
	return s, nil
}

func appendUpdate(b []byte, u keyring.Update) []byte {
	b = wire.AppendUint32(b, uint32(len(u.Add)))
	for i := range u.Add {
		b = appendDEK(b, &u.Add[i])
	}
	b = wire.AppendUint32(b, uint32(len(u.Remove)))
	for i := range u.Remove {
		b = append(b, u.Remove[i][:]...)
	}
	return b
}

func readUpdate(r *wire.Reader) (u keyring.Update, err error) {
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		u.Add = append(u.Add, readDEK(r))
	}
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		var item id.Item
		copy(item[:], r.Bytes(len(item)))
		u.Remove = append(u.Remove, item)
	}
	if r.End() != nil {
		return u, ErrBadRequest
	}
	return u, nil
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

func appendRevisions(b []byte, list []id.Revision) []byte {
	b = wire.AppendUint32(b, uint32(len(list)))
	for i := range list {
		b = append(b, list[i][:]...)
	}
	return b
}

func readRevisions(r *wire.Reader) (list []id.Revision) {
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		var rev id.Revision
		copy(rev[:], r.Bytes(len(rev)))
		list = append(list, rev)
	}
	return list
}

// DropDraft forgets a key that won't be sealed.
func (c *Client) DropDraft(ctx context.Context, draft uint64) error {
	_, err := c.call(ctx, opDropDraft, wire.AppendUint64(nil, draft))
	return err
}

// RotationStep is one of the writes of a rotation; package ring says what each
// does and why in this order.
type RotationStep byte

// The steps, in their order.
const (
	StepNewKEK RotationStep = iota + 1 // makes members
	StepRewrap                         // makes deks
	StepRetire                         // makes members
)

// Rotation returns the object that a step writes, made of the keyring that was
// loaded last, or nil when the step has nothing to do.
func (c *Client) Rotation(ctx context.Context, step RotationStep) ([]byte, error) {
	object, err := c.call(ctx, opRotation, []byte{byte(step)})
	if len(object) == 0 {
		return nil, err
	}
	return object, err
}
