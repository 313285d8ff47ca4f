package keyring

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"slices"
	"strings"

	"vigil/internal/canon"
	"vigil/internal/id"
)

const membersHeader = `{"vigil":"members","version":`

// Members is a verified members object: the chain starts at the vault id, every
// record is signed by an identity that may append it, and every unlock block and
// KEK seal is one that a live record names.
type Members struct {
	vault   id.Vault
	records []Record
	chain   *chain
	unlocks map[id.Identity]*UnlockBlock
	seals   map[sealKey]*Seal
}

// sealKey identifies a seal. A KEK is sealed to an identity again when the
// identity's keys are replaced; the earlier seal stays, because its record has one
// hash over all of its seals.
type sealKey struct {
	record   uint64
	kek      uint64
	identity id.Identity
}

func (s *Seal) key() sealKey { return sealKey{s.Record, s.KEK, s.Identity} }

// ParseMembers reads and verifies a members object of the given vault. Errors
// are *Error. The result aliases data, which must not change afterwards.
func ParseMembers(data []byte, vault id.Vault) (*Members, error) {
	if len(data) > MaxObject {
		return nil, &Error{ObjectMembers, 0, StageSize, "larger than its limit"}
	}
	m := &Members{vault: vault, chain: newChain(), unlocks: map[id.Identity]*UnlockBlock{}, seals: map[sealKey]*Seal{}}
	lines := canon.NewLines(data)
	sums := map[uint64]hash.Hash{} // over the seals of each KEK
	var last []byte
	number := 0
	for {
		line, n, ended, ok := lines.Next()
		if !ok {
			break
		}
		number = n
		err := m.takeLine(line, last, n, ended, sums)
		if err != nil {
			return nil, &Error{ObjectMembers, n, err.stage, err.what}
		}
		last = line
	}
	if len(m.records) < 2 {
		return nil, &Error{ObjectMembers, number, StageSyntax, "ends before record 1"}
	}
	if err := m.complete(sums); err != nil {
		return nil, &Error{ObjectMembers, 0, err.stage, err.what}
	}
	return m, nil
}

// takeLine reads one line; last is the line before it.
func (m *Members) takeLine(line, last []byte, number int, ended bool, sums map[uint64]hash.Hash) *stageError {
	switch {
	case len(line) > MaxLine:
		return refuse(StageSyntax, "line is longer than %d bytes", MaxLine)
	case !ended:
		return refuse(StageSyntax, "line is cut")
	case number == 1:
		return parseHeader(membersHeader, line, m.vault)
	case bytes.HasPrefix(line, []byte(`{"body":`)):
		if len(m.unlocks)+len(m.seals) > 0 {
			return refuse(StageSyntax, "record after the unlock blocks and seals")
		}
		return m.takeRecord(line, number)
	}
	if len(m.unlocks)+len(m.seals) > 0 && bytes.Compare(last, line) >= 0 {
		return refuse(StageSyntax, "unlock blocks and seals are not sorted, each once")
	}
	if bytes.HasPrefix(line, []byte(`{"unlock":`)) {
		return m.takeUnlock(line)
	}
	return m.takeSeal(line, sums)
}

func (m *Members) takeRecord(line []byte, number int) *stageError {
	if len(m.records) == MaxRecords {
		return refuse(StageSyntax, "more than %d records", MaxRecords)
	}
	r, err := parseRecord(line)
	if err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	r.line = number
	if r.Seq == 0 && len(m.records) == 0 && id.Vault(r.Hash()) != m.vault {
		return refuse(StageVault, "record 0 is that of vault %v, want %v", r.Hash(), m.vault)
	}
	if err := m.chain.add(&r); err != nil {
		return err
	}
	m.records = append(m.records, r)
	return nil
}

func (m *Members) takeUnlock(line []byte) *stageError {
	u, err := parseUnlock(line)
	if err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	who := m.chain.identities[u.Identity]
	if who == nil || !who.live || who.unlock != id.HashOf(line) {
		return refuse(StageBlocks, "unlock block of %v is not the one its last record names", u.Identity)
	}
	if who.unlockMaster != "" && who.unlockMaster != u.Master {
		return refuse(StageBlocks, "unlock block of %v has another master key than its record", u.Identity)
	}
	m.unlocks[u.Identity] = &u
	return nil
}

func (m *Members) takeSeal(line []byte, sums map[uint64]hash.Hash) *stageError {
	s, err := parseSeal(line)
	if err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	key := s.key()
	if !m.chain.names(key) {
		return refuse(StageBlocks, "seal of KEK %d to %v is not one that a live record names", s.KEK, s.Identity)
	}
	if k := m.chain.keks[s.KEK]; k.madeAt == s.Record {
		if sums[s.KEK] == nil {
			sums[s.KEK] = sha256.New()
		}
		sums[s.KEK].Write(line)
		sums[s.KEK].Write([]byte{'\n'})
	} else if want, _ := m.chain.identities[s.Identity].sealOf(s.KEK); want != id.HashOf(line) {
		return refuse(StageBlocks, "seal of KEK %d to %v is not the one its record names", s.KEK, s.Identity)
	}
	m.seals[key] = &s
	return nil
}

// names reports whether a seal belongs in the object: its KEK is live, and its
// record is the one that made the KEK, which seals it to every identity live at
// that time, or the one that holds a live identity's keys.
func (c *chain) names(key sealKey) bool {
	k, who := c.keks[key.kek], c.identities[key.identity]
	switch {
	case k == nil || !k.live || who == nil:
		return false
	case key.record == k.madeAt:
		return who.at(k.madeAt)
	}
	_, named := who.sealOf(key.kek)
	return named && key.record == who.keyAt
}

// complete checks that no block that a live record names is missing. Every block
// present was matched to a record, so counting is enough; the seals of a KEK were
// hashed in order.
func (m *Members) complete(sums map[uint64]hash.Hash) *stageError {
	unlocks, seals := 0, 0
	for _, who := range m.chain.live() {
		if !who.unlock.IsZero() {
			unlocks++
		}
		for _, ref := range who.seals {
			if m.chain.keks[ref.KEK].live {
				seals++
			}
		}
	}
	for version, k := range m.chain.keks {
		if !k.live {
			continue
		}
		for _, who := range m.chain.identities {
			if who.at(k.madeAt) {
				seals++
			}
		}
		if sum := sums[version]; sum == nil || id.Hash(sum.Sum(nil)) != k.sealed {
			return refuse(StageBlocks, "the seals of KEK %d are not those that its record names", version)
		}
	}
	if unlocks != len(m.unlocks) || seals != len(m.seals) {
		return refuse(StageBlocks, "%d unlock blocks and %d seals, want %d and %d", len(m.unlocks), len(m.seals), unlocks, seals)
	}
	return nil
}

// parseHeader reads line 1 of both objects up to the vault; deks has more.
func parseHeader(prefix string, line []byte, vault id.Vault) *stageError {
	r := canon.NewReader(line)
	if err := readHeader(&r, prefix, vault); err != nil {
		return err
	}
	r.Literal(`}`)
	if err := r.End(); err != nil {
		return refuse(StageSyntax, "%v", err)
	}
	return nil
}

func readHeader(r *canon.Reader, prefix string, vault id.Vault) *stageError {
	r.Literal(prefix)
	version := r.Uint()
	if r.Err() == nil && version != Version {
		return refuse(StageVersion, "format version %d, want %d", version, Version)
	}
	var found id.Vault
	r.Literal(`,"vault":`)
	r.Fixed(found[:])
	if r.Err() != nil {
		return refuse(StageSyntax, "%v", r.Err())
	}
	if found != vault {
		return refuse(StageVault, "belongs to vault %v, want %v", found, vault)
	}
	return nil
}

// Encode returns the stored form. Parsing it gives an equal Members.
func (m *Members) Encode() []byte {
	b := append([]byte(nil), membersHeader...)
	b = canon.AppendUint(b, Version)
	b = append(b, `,"vault":`...)
	b = canon.AppendBytes(b, m.vault[:])
	b = append(b, '}', '\n')
	for i := range m.records {
		b = append(m.records[i].appendLine(b), '\n')
	}
	var blocks [][]byte
	for _, u := range m.unlocks {
		blocks = append(blocks, u.line())
	}
	for _, s := range m.seals {
		blocks = append(blocks, s.line())
	}
	slices.SortFunc(blocks, bytes.Compare)
	for _, line := range blocks {
		b = append(append(b, line...), '\n')
	}
	return b
}

// Vault returns the vault's id.
func (m *Members) Vault() id.Vault { return m.vault }

// Records returns the chain, record 0 first. The caller must not change it.
func (m *Members) Records() []Record { return m.records }

// Head returns the hash of the last record.
func (m *Members) Head() id.Hash { return m.chain.head }

// MembersPin is what a device remembers of the chain it accepted last. It is zero
// on a device that has seen none.
type MembersPin struct {
	Seq  uint64  `json:"seq"`
	Hash id.Hash `json:"hash"`
}

// Pin returns the number and hash of the chain's last record.
func (m *Members) Pin() MembersPin { return MembersPin{Seq: m.chain.next - 1, Hash: m.chain.head} }

// Extends checks that the chain continues the one that this device has seen.
// Its error is a *HistoryError.
func (m *Members) Extends(pin MembersPin) error {
	if pin.Hash.IsZero() {
		return nil
	}
	last := m.chain.next - 1
	if pin.Seq > last {
		return &HistoryError{Object: ObjectMembers, Stage: StageRollback, Expected: pin.Seq, Found: last, ExpectedHash: pin.Hash}
	}
	if found := m.records[pin.Seq].Hash(); found != pin.Hash {
		return &HistoryError{Object: ObjectMembers, Stage: StageFork, Expected: pin.Seq, Found: pin.Seq, ExpectedHash: pin.Hash, FoundHash: found}
	}
	return nil
}

// Identity returns a live identity.
func (m *Members) Identity(identity id.Identity) (Identity, bool) {
	who := m.chain.identities[identity]
	if who == nil || !who.live {
		return Identity{}, false
	}
	return who.Identity, true
}

// Identities returns the live identities, sorted by the text of their ids.
func (m *Members) Identities() []Identity {
	var out []Identity
	for _, who := range m.chain.live() {
		out = append(out, who.Identity)
	}
	slices.SortFunc(out, func(a, b Identity) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return out
}

// Removed reports whether the chain added identity and later removed it: its keys
// are revoked, unlike those of an identity that was never added.
func (m *Members) Removed(identity id.Identity) bool {
	who := m.chain.identities[identity]
	return who != nil && !who.live
}

// Unlock returns the unlock block of a live identity that has one.
func (m *Members) Unlock(identity id.Identity) (UnlockBlock, bool) {
	if u := m.unlocks[identity]; u != nil {
		return *u, true
	}
	return UnlockBlock{}, false
}

// Seal returns a live KEK sealed to a live identity's keys. There is none if
// whoever admitted or rekeyed the identity didn't know the KEK.
func (m *Members) Seal(kek uint64, identity id.Identity) (Seal, bool) {
	k, who := m.chain.keks[kek], m.chain.identities[identity]
	if k == nil || who == nil || !who.live {
		return Seal{}, false
	}
	if s := m.seals[sealKey{max(k.madeAt, who.keyAt), kek, identity}]; s != nil {
		return *s, true
	}
	return Seal{}, false
}

// KEK returns the version of the newest KEK, the one to write under.
func (m *Members) KEK() uint64 { return m.chain.newest }

// KEKs returns the versions of all live KEKs, ascending.
func (m *Members) KEKs() []uint64 {
	var out []uint64
	for version, k := range m.chain.keks {
		if k.live {
			out = append(out, version)
		}
	}
	slices.Sort(out)
	return out
}

// RotationDue reports whether an identity was removed or rekeyed since the newest
// KEK was made, so that someone who no longer should may still know that KEK.
func (m *Members) RotationDue() bool { return m.chain.due }
