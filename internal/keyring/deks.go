package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"vigil/internal/canon"
	"vigil/internal/id"
)

const (
	deksHeader = `{"vigil":"deks","version":`
	itemPrefix = `{"item":"`
	tombPrefix = `{"tombstone":"`
	macPrefix  = `{"mac":`
	deksLabel  = "vigil v1 deks"
)

// minDEKLine is a lower bound of the length of a revision's line, in bytes.
const minDEKLine = 320

// MACSize is the size of the MAC that ends a deks object, in bytes.
const MACSize = sha256.Size

// MACFunc computes HMAC-SHA256 over a manifest's hash, under the MAC key of the
// given KEK version, as envelope.DeksMAC does.
type MACFunc func(kek uint64, hash id.Hash) ([MACSize]byte, error)

// DEK is the manifest's entry for one revision of an item: its wrapped key, and
// the facts about the revision that don't need its line in the vault file.
type DEK struct {
	Item     id.Item
	Revision id.Revision
	// Parents are the revisions that this one replaces, sorted by their text,
	// at most MaxParents; none for an item's first revision.
	Parents []id.Revision
	// Line is the hash of the revision's line in the vault file, without its line
	// feed. A line with another hash is not this revision.
	Line id.Hash
	// Tightens says that the revision restricts the key's use in a way that a
	// parent doesn't.
	Tightens bool
	// Wrapped is the DEK wrapped by the manifest's KEK or, if Waits is set, by the
	// own key of the identity that made it (envelope.OwnKey).
	Wrapped [WrappedDEKSize]byte
	Waits   bool
	// Superseded is when a revision with this one as a parent was added, in Unix
	// seconds; 0 while this one is a head.
	Superseded uint64
}

// Deks is the manifest of a vault: its revisions and their wrapped keys. It is
// not authenticated until Verify has succeeded.
type Deks struct {
	vault id.Vault
	kek   uint64
	epoch uint64
	head  id.Hash
	by    id.Identity

	deks       []DEK // in stored order
	byRevision map[id.Revision]int
	tombstones []id.Item
	dead       map[id.Item]bool

	// Hash, MAC and signature as parsed, for Verify and Pin; zero in a changed
	// Deks until it is encoded and parsed again.
	hash id.Hash // of the stored bytes before the last line
	mac  [MACSize]byte
	sig  [SignatureSize]byte
}

// NewDeks returns the empty manifest of a new vault, epoch 1 of its newest KEK.
func NewDeks(m *Members) *Deks {
	return &Deks{vault: m.vault, epoch: 1, kek: m.KEK(), head: m.Head(), byRevision: map[id.Revision]int{}, dead: map[id.Item]bool{}}
}

// ParseDeks reads a deks object of the given vault. Errors are *Error. Don't
// trust the result before Verify has succeeded.
func ParseDeks(data []byte, vault id.Vault) (*Deks, error) {
	fail := func(line int, stage Stage, what string) (*Deks, error) {
		return nil, &Error{ObjectDeks, line, stage, what}
	}
	if len(data) > MaxObject {
		return fail(0, StageSize, "larger than its limit")
	}
	// An upper bound, so that no more is allocated than data can hold.
	count := len(data) / minDEKLine
	d := &Deks{vault: vault, deks: make([]DEK, 0, count), byRevision: make(map[id.Revision]int, count), dead: map[id.Item]bool{}}
	lines := canon.NewLines(data)
	var last []byte
	for offset := 0; ; {
		line, n, ended, ok := lines.Next()
		switch {
		case !ok:
			return fail(n, StageSyntax, "ends before its MAC and signature")
		case len(line) > MaxLine:
			return fail(n, StageSyntax, fmt.Sprintf("line is longer than %d bytes", MaxLine))
		case !ended:
			return fail(n, StageSyntax, "line is cut")
		}
		if n > 1 && bytes.HasPrefix(line, []byte(macPrefix)) {
			if err := d.takeEnd(line); err != nil {
				return fail(n, StageSyntax, err.Error())
			}
			if _, _, _, more := lines.Next(); more {
				return fail(n+1, StageSyntax, "line after the MAC")
			}
			d.hash = id.HashOf(data[:offset])
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
	r.Literal(`,"kek":`)
	d.kek = r.Uint()
	r.Literal(`,"epoch":`)
	d.epoch = r.Uint()
	r.Literal(`,"head":`)
	r.Fixed(d.head[:])
	r.Literal(`,"by":`)
	r.Fixed(d.by[:])
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	if d.kek == 0 || d.epoch == 0 || d.epoch > MaxEpoch {
		return refuse(StageSyntax, "KEK versions and epochs start at 1, and epochs end at %d", uint64(MaxEpoch))
	}
	return nil
}

func (d *Deks) takeTombstone(line []byte) *stageError {
	var item id.Item
	r := canon.NewReader(line)
	r.Literal(`{"tombstone":`)
	r.Fixed(item[:])
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	d.dead[item] = true // lines are sorted, each once, and this one has nothing else
	d.tombstones = append(d.tombstones, item)
	return nil
}

func (d *Deks) takeEnd(line []byte) error {
	// A removed item has no DEK: Apply writes it so, and a reader relies on it.
	if len(d.dead) > 0 {
		for i := range d.deks {
			if d.dead[d.deks[i].Item] {
				return fmt.Errorf("item %v has a DEK and a tombstone", d.deks[i].Item)
			}
		}
	}
	r := canon.NewReader(line)
	r.Literal(macPrefix)
	r.Fixed(d.mac[:])
	r.Literal(`,"sig":`)
	r.Fixed(d.sig[:])
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
	r.Literal(`,"line":`)
	r.Fixed(e.Line[:])
	r.Literal(`,"tightens":`)
	e.Tightens = bounded(&r, 1) == 1
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
	b = append(b, `,"line":`...)
	b = canon.AppendBytes(b, e.Line[:])
	b = append(b, `,"tightens":`...)
	if e.Tightens {
		b = append(b, '1')
	} else {
		b = append(b, '0')
	}
	b = append(b, `,"dek":`...)
	b = canon.AppendBytes(b, e.Wrapped[:])
	b = append(b, `,"superseded":`...)
	b = canon.AppendUint(b, e.Superseded)
	return append(b, '}')
}

// DeksMessage returns what a manifest's signature covers: the context "vigil v1
// deks" with the manifest's hash.
func DeksMessage(hash id.Hash) []byte {
	m := make([]byte, 0, 4+len(deksLabel)+4+len(hash))
	m = binary.BigEndian.AppendUint32(m, uint32(len(deksLabel)))
	m = append(m, deksLabel...)
	m = binary.BigEndian.AppendUint32(m, uint32(len(hash)))
	return append(m, hash[:]...)
}

// Encode returns the stored form: sorted, with its MAC, signed by its writer. To
// make further changes, parse the result; d doesn't have its hash. Errors for an
// epoch or a size that readers refuse wrap ErrChange; a new KEK starts epochs
// from 1 again.
func (d *Deks) Encode(by Signer, mac MACFunc) ([]byte, error) {
	if d.epoch > MaxEpoch {
		return nil, fmt.Errorf("write deks: %w: %d writes under KEK %d", ErrChange, uint64(MaxEpoch), d.kek)
	}
	writer := by.Identity()
	b := append([]byte(nil), deksHeader...)
	b = canon.AppendUint(b, Version)
	b = append(b, `,"vault":`...)
	b = canon.AppendBytes(b, d.vault[:])
	b = append(b, `,"kek":`...)
	b = canon.AppendUint(b, d.kek)
	b = append(b, `,"epoch":`...)
	b = canon.AppendUint(b, d.epoch)
	b = append(b, `,"head":`...)
	b = canon.AppendBytes(b, d.head[:])
	b = append(b, `,"by":`...)
	b = canon.AppendBytes(b, writer[:])
	b = append(b, '}', '\n')
	b = slices.Grow(b, (len(d.deks)+1)*dekLine)
	b = appendSorted(b, d.deks, (*DEK).appendLine)
	b = appendSorted(b, d.tombstones, appendTombstone)
	hash := id.HashOf(b)
	sum, err := mac(d.kek, hash)
	if err != nil {
		return nil, fmt.Errorf("authenticate deks under KEK %d: %w", d.kek, err)
	}
	sig, err := by.Sign(DeksMessage(hash))
	if err != nil {
		return nil, fmt.Errorf("sign deks: %w", err)
	}
	b = append(b, macPrefix...)
	b = canon.AppendBytes(b, sum[:])
	b = append(b, `,"sig":`...)
	b = canon.AppendBytes(b, sig)
	b = append(b, '}', '\n')
	if len(b) > MaxObject {
		return nil, fmt.Errorf("write deks: %w: %d bytes, at most %d", ErrChange, len(b), MaxObject)
	}
	return b, nil
}

func appendTombstone(item *id.Item, b []byte) []byte {
	b = append(b, `{"tombstone":`...)
	b = canon.AppendBytes(b, item[:])
	return append(b, '}')
}

// dekLine is the approximate length of a DEK's line, in bytes.
const dekLine = 390

// appendSorted appends the lines of all entries in bytewise order. The entries
// are usually in that order already.
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

// KEK returns the version of the KEK that d is, or will be, written under.
func (d *Deks) KEK() uint64 { return d.kek }

// Epoch returns the number of writes under that KEK, from 1.
func (d *Deks) Epoch() uint64 { return d.epoch }

// Head returns the hash of the last members record that the writer knew.
func (d *Deks) Head() id.Hash { return d.head }

// By returns the id of the identity that wrote d.
func (d *Deks) By() id.Identity { return d.by }

// Hash returns the hash that the MAC and the signature cover, the SHA-256 of the
// stored bytes before the last line.
func (d *Deks) Hash() id.Hash { return d.hash }

// All returns every revision that has a DEK. The caller must not change it.
func (d *Deks) All() []DEK { return d.deks }

// Tombstones returns the removed items. The caller must not change it.
func (d *Deks) Tombstones() []id.Item { return d.tombstones }

// Lookup returns the DEK of a revision, or nil. The caller must not change it.
func (d *Deks) Lookup(revision id.Revision) *DEK {
	if i, ok := d.byRevision[revision]; ok {
		return &d.deks[i]
	}
	return nil
}

// Has reports whether the item's revision has a DEK.
func (d *Deks) Has(item id.Item, revision id.Revision) bool {
	i, ok := d.byRevision[revision]
	return ok && d.deks[i].Item == item
}

// Deleted reports whether the item has a tombstone.
func (d *Deks) Deleted(item id.Item) bool {
	return d.dead[item]
}

// Heads returns the revisions that have not been superseded, in stored order. The
// caller must not change them.
func (d *Deks) Heads() iter.Seq[*DEK] {
	return func(yield func(*DEK) bool) {
		for i := range d.deks {
			if e := &d.deks[i]; e.Superseded == 0 && !yield(e) {
				return
			}
		}
	}
}
