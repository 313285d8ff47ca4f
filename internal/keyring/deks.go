package keyring

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"vigil/internal/canon"
	"vigil/internal/id"
)

const (
	deksHeader = `{"vigil":"deks","version":`
	itemPrefix = `{"item":"`
	tombPrefix = `{"tombstone":"`
	macPrefix  = `{"mac":`
)

// minDEKLine is less than the shortest line of a revision has, in bytes.
const minDEKLine = 256

// MACSize is the size of the MAC that ends a deks object, in bytes.
const MACSize = sha256.Size

// MACFunc computes HMAC-SHA256 over the stored bytes of a deks object that
// come before its last line, under the MAC key of the given KEK version.
// envelope.DeksMAC is what stands behind it.
type MACFunc func(kek uint64, stored []byte) ([MACSize]byte, error)

// DEK is the wrapped key of one revision of an item.
type DEK struct {
	Item     id.Item
	Revision id.Revision
	// Parents are the revisions that this one replaces, sorted by their text,
	// at most MaxParents; none for an item's first revision.
	Parents []id.Revision
	KEK     uint64 // version that wraps it
	Wrapped [WrappedDEKSize]byte
	// Superseded is when a revision that names this one as parent came in,
	// in Unix seconds; 0 while it is a head.
	Superseded uint64
}

// Tombstone says that an item was removed for good, in which epoch.
type Tombstone struct {
	Item  id.Item
	Epoch uint64
}

// Deks is the manifest of a vault: which revisions there are and their wrapped
// keys. Until Verify has succeeded, nobody knows who wrote it.
type Deks struct {
	vault id.Vault
	epoch uint64
	kek   uint64
	head  id.Hash

	deks       []DEK // in stored order
	byRevision map[id.Revision]int
	tombstones []Tombstone
	dead       map[id.Item]uint64

	// What was stored, for Verify and Pin; empty in a changed Deks until it is
	// encoded and parsed again.
	authenticated []byte
	mac           [MACSize]byte
	sum           id.Hash
}

// NewDeks returns the empty manifest of a new vault, epoch 1, under its newest
// KEK.
func NewDeks(m *Members) *Deks {
	return &Deks{vault: m.vault, epoch: 1, kek: m.KEK(), head: m.Head(), byRevision: map[id.Revision]int{}, dead: map[id.Item]uint64{}}
}

// ParseDeks reads a deks object of the given vault. Errors are *Error. The
// result aliases data, which must not change afterwards, and is not to be
// trusted before Verify.
func ParseDeks(data []byte, vault id.Vault) (*Deks, error) {
	fail := func(line int, stage Stage, what string) (*Deks, error) {
		return nil, &Error{ObjectDeks, line, stage, what}
	}
	if len(data) > MaxObject {
		return fail(0, StageSize, "larger than its limit")
	}
	// Memory for no more revisions than data can hold.
	count := len(data) / minDEKLine
	d := &Deks{vault: vault, deks: make([]DEK, 0, count), byRevision: make(map[id.Revision]int, count), dead: map[id.Item]uint64{}}
	lines := canon.NewLines(data)
	var last []byte
	for offset := 0; ; {
		line, n, ended, ok := lines.Next()
		switch {
		case !ok:
			return fail(n, StageSyntax, "ends before its MAC")
		case len(line) > MaxLine:
			return fail(n, StageSyntax, fmt.Sprintf("line is longer than %d bytes", MaxLine))
		case !ended:
			return fail(n, StageSyntax, "line is cut")
		}
		if n > 1 && bytes.HasPrefix(line, []byte(macPrefix)) {
			if err := d.takeMAC(line); err != nil {
				return fail(n, StageSyntax, err.Error())
			}
			if _, _, _, more := lines.Next(); more {
				return fail(n+1, StageSyntax, "line after the MAC")
			}
			d.authenticated, d.sum = data[:offset:offset], id.HashOf(data)
			return d, nil
		}
		if err := d.takeLine(line, last, n); err != nil {
			return fail(n, err.stage, err.what)
		}
		last = line
		offset += len(line) + 1
	}
}

func (d *Deks) takeLine(line, last []byte, number int) *stageError {
	if number == 1 {
		return d.takeHeader(line)
	}
	// Tombstones sort after revisions because "i" comes before "t".
	if number > 2 && bytes.Compare(last, line) >= 0 {
		return refuse(StageSyntax, "lines are not sorted, each once")
	}
	if bytes.HasPrefix(line, []byte(tombPrefix)) {
		return d.takeTombstone(line)
	}
	e, err := parseDEK(line)
	if err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	if _, twice := d.byRevision[e.Revision]; twice {
		return refuse(StageSyntax, "revision %v appears twice", e.Revision)
	}
	d.byRevision[e.Revision] = len(d.deks)
	d.deks = append(d.deks, e)
	return nil
}

func (d *Deks) takeHeader(line []byte) *stageError {
	r := canon.NewReader(line)
	if err := readHeader(&r, deksHeader, d.vault); err != nil {
		return err
	}
	r.Literal(`,"epoch":`)
	d.epoch = r.Uint()
	r.Literal(`,"kek":`)
	d.kek = r.Uint()
	r.Literal(`,"head":`)
	r.Fixed(d.head[:])
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	if d.epoch == 0 || d.kek == 0 {
		return refuse(StageSyntax, "epochs and KEK versions start at 1")
	}
	return nil
}

func (d *Deks) takeTombstone(line []byte) *stageError {
	var t Tombstone
	r := canon.NewReader(line)
	r.Literal(`{"tombstone":`)
	r.Fixed(t.Item[:])
	r.Literal(`,"epoch":`)
	t.Epoch = r.Uint()
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	if t.Epoch == 0 || t.Epoch > d.epoch {
		return refuse(StageSyntax, "tombstone of epoch %d in epoch %d", t.Epoch, d.epoch)
	}
	if _, twice := d.dead[t.Item]; twice {
		return refuse(StageSyntax, "item %v has two tombstones", t.Item)
	}
	d.dead[t.Item] = t.Epoch
	d.tombstones = append(d.tombstones, t)
	return nil
}

func (d *Deks) takeMAC(line []byte) error {
	// A removed item has no DEK: Apply writes it so, and a reader relies on it.
	if len(d.dead) > 0 {
		for i := range d.deks {
			if _, dead := d.dead[d.deks[i].Item]; dead {
				return fmt.Errorf("item %v has a DEK and a tombstone", d.deks[i].Item)
			}
		}
	}
	r := canon.NewReader(line)
	r.Literal(macPrefix)
	r.Fixed(d.mac[:])
	r.Literal(`}`)
	return r.End()
}

func parseDEK(line []byte) (e DEK, err error) {
	r := canon.NewReader(line)
	r.Literal(`{"item":`)
	r.Fixed(e.Item[:])
	r.Literal(`,"revision":`)
	r.Fixed(e.Revision[:])
	r.Literal(`,"parents":`)
	e.Parents = ReadParents(&r)
	r.Literal(`,"kek":`)
	e.KEK = r.Uint()
	r.Literal(`,"dek":`)
	r.Fixed(e.Wrapped[:])
	r.Literal(`,"superseded":`)
	e.Superseded = r.Uint()
	r.Literal(`}`)
	return e, r.End()
}

func (e *DEK) appendLine(b []byte) []byte {
	b = append(b, `{"item":`...)
	b = canon.AppendBytes(b, e.Item[:])
	b = append(b, `,"revision":`...)
	b = canon.AppendBytes(b, e.Revision[:])
	b = append(b, `,"parents":`...)
	b = AppendParents(b, e.Parents)
	b = append(b, `,"kek":`...)
	b = canon.AppendUint(b, e.KEK)
	b = append(b, `,"dek":`...)
	b = canon.AppendBytes(b, e.Wrapped[:])
	b = append(b, `,"superseded":`...)
	b = canon.AppendUint(b, e.Superseded)
	return append(b, '}')
}

// Encode returns the stored form, sorted and with its MAC. The stored object
// replaces d: parse it to go on from it.
func (d *Deks) Encode(mac MACFunc) ([]byte, error) {
	b := append([]byte(nil), deksHeader...)
	b = canon.AppendUint(b, Version)
	b = append(b, `,"vault":`...)
	b = canon.AppendBytes(b, d.vault[:])
	b = append(b, `,"epoch":`...)
	b = canon.AppendUint(b, d.epoch)
	b = append(b, `,"kek":`...)
	b = canon.AppendUint(b, d.kek)
	b = append(b, `,"head":`...)
	b = canon.AppendBytes(b, d.head[:])
	b = append(b, '}', '\n')
	b = slices.Grow(b, (len(d.deks)+1)*dekLine)
	b = appendSorted(b, d.deks, (*DEK).appendLine)
	b = appendSorted(b, d.tombstones, (*Tombstone).appendLine)
	sum, err := mac(d.kek, b)
	if err != nil {
		return nil, fmt.Errorf("authenticate deks under KEK %d: %w", d.kek, err)
	}
	b = append(b, macPrefix...)
	b = canon.AppendBytes(b, sum[:])
	return append(b, '}', '\n'), nil
}

func (t *Tombstone) appendLine(b []byte) []byte {
	b = append(b, `{"tombstone":`...)
	b = canon.AppendBytes(b, t.Item[:])
	b = append(b, `,"epoch":`...)
	b = canon.AppendUint(b, t.Epoch)
	return append(b, '}')
}

// dekLine is about the length of a DEK's line in bytes.
const dekLine = 330

// appendSorted appends the lines of all entries in bytewise order, which they
// mostly have already.
func appendSorted[E any](b []byte, entries []E, appendLine func(*E, []byte) []byte) []byte {
	start := len(b)
	ends := make([]int, len(entries))
	sorted := true
	last := b[start:]
	for i := range entries {
		from := len(b)
		b = append(appendLine(&entries[i], b), '\n')
		sorted = sorted && bytes.Compare(last, b[from:]) <= 0
		last, ends[i] = b[from:], len(b)
	}
	if sorted {
		return b
	}
	text := bytes.Clone(b[start:])
	lines := make([][]byte, len(entries))
	from := 0
	for i, end := range ends {
		lines[i] = text[from : end-start]
		from = end - start
	}
	slices.SortFunc(lines, bytes.Compare)
	b = b[:start]
	for _, line := range lines {
		b = append(b, line...)
	}
	return b
}

// Vault returns the vault's id.
func (d *Deks) Vault() id.Vault { return d.vault }

// Epoch returns the number of writes so far, from 1.
func (d *Deks) Epoch() uint64 { return d.epoch }

// KEK returns the version of the KEK that d is, or will be, written under.
func (d *Deks) KEK() uint64 { return d.kek }

// Head returns the hash of the last members record that the writer knew.
func (d *Deks) Head() id.Hash { return d.head }

// All returns every revision that has a DEK. The caller must not change it.
func (d *Deks) All() []DEK { return d.deks }

// Tombstones returns the removed items. The caller must not change it.
func (d *Deks) Tombstones() []Tombstone { return d.tombstones }

// Lookup returns the DEK of a revision.
func (d *Deks) Lookup(revision id.Revision) (DEK, bool) {
	if i, ok := d.byRevision[revision]; ok {
		return d.deks[i], true
	}
	return DEK{}, false
}

// Has reports whether the item's revision has a DEK.
func (d *Deks) Has(item id.Item, revision id.Revision) bool {
	i, ok := d.byRevision[revision]
	return ok && d.deks[i].Item == item
}

// Parents returns the parents of a revision, or none when it has no DEK.
func (d *Deks) Parents(revision id.Revision) []id.Revision {
	if i, ok := d.byRevision[revision]; ok {
		return d.deks[i].Parents
	}
	return nil
}

// Deleted reports whether the item has a tombstone.
func (d *Deks) Deleted(item id.Item) bool {
	_, dead := d.dead[item]
	return dead
}

// Heads returns the revisions that nothing has superseded.
func (d *Deks) Heads() []DEK {
	var out []DEK
	for i := range d.deks {
		if d.deks[i].Superseded == 0 {
			out = append(out, d.deks[i])
		}
	}
	return out
}
