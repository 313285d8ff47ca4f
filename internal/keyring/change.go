package keyring

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"vigil/internal/canon"
	"vigil/internal/id"
)

// Signer signs records as one identity. envelope.Halves is one.
type Signer interface {
	// Identity returns the id of the identity that signs.
	Identity() id.Identity
	// Sign returns the Ed25519 signature of message.
	Sign(message []byte) ([]byte, error)
}

// Change is a change to members. Only this package implements it.
type Change interface {
	// record returns the change as record seq, and the blocks that it names.
	// Append does the rest.
	record(seq uint64) (Record, []UnlockBlock, []Seal, error)
}

// AddIdentity admits an identity, with its unlock block and the live KEKs sealed
// to it, each once.
type AddIdentity struct {
	ID     id.Identity
	Role   Role
	Public Public
	Block  UnlockBlock
	Seals  []Seal
}

// RemoveIdentity removes an identity and its unlock block. MakeKEK should follow:
// the identity knows the current KEKs.
type RemoveIdentity struct {
	ID id.Identity
	// Deks is the hash of the last manifest accepted before the removal. Of the
	// manifests that the identity wrote, only this one stays valid.
	Deks id.Hash
}

// MakeKEK adds the next KEK version, sealed to every live identity. Seals may
// be in any order.
type MakeKEK struct{ Seals []Seal }

// RetireKEK drops a KEK version and its seals, once no DEK is wrapped by it.
type RetireKEK struct{ Version uint64 }

// SetUnlock sets the first identity's unlock block.
type SetUnlock struct{ Block UnlockBlock }

// ChangeMaster replaces the signer's unlock block with one whose share is wrapped
// by another master key.
type ChangeMaster struct{ Block UnlockBlock }

// Rekey replaces the signer's own key pairs and unlock block, as a change of
// passphrase does, with the live KEKs sealed to the new key. An owner's MakeKEK
// should follow, signed by the new key if it is the same owner's.
type Rekey struct {
	Public Public
	Block  UnlockBlock
	Seals  []Seal
	// Deks is as in RemoveIdentity, for manifests that the old key signed.
	Deks id.Hash
}

func (c AddIdentity) record(seq uint64) (Record, []UnlockBlock, []Seal, error) {
	r := Record{Kind: IdentityAdded, Identity: c.ID, Role: c.Role, Public: c.Public, Unlock: c.Block.Hash()}
	if !c.Role.valid() {
		return r, nil, nil, fmt.Errorf("%w: role %q", ErrChange, c.Role)
	}
	if c.Block.Identity != c.ID {
		return r, nil, nil, fmt.Errorf("%w: unlock block of another identity", ErrChange)
	}
	seals := refer(&r, seq, c.Seals)
	return r, []UnlockBlock{c.Block}, seals, c.Block.check()
}

func (c RemoveIdentity) record(uint64) (Record, []UnlockBlock, []Seal, error) {
	return Record{Kind: IdentityRemoved, Identity: c.ID, Deks: c.Deks}, nil, nil, nil
}

func (c MakeKEK) record(seq uint64) (Record, []UnlockBlock, []Seal, error) {
	if len(c.Seals) == 0 {
		return Record{}, nil, nil, fmt.Errorf("%w: a KEK without a seal", ErrChange)
	}
	r := Record{Kind: KEKMade, KEK: c.Seals[0].KEK}
	seals := slices.Clone(c.Seals)
	lines := make([][]byte, len(seals))
	for i := range seals {
		seals[i].Record = seq
		lines[i] = append(seals[i].line(), '\n')
		if seals[i].KEK != r.KEK {
			return r, nil, nil, fmt.Errorf("%w: seals of KEKs %d and %d in one record", ErrChange, r.KEK, seals[i].KEK)
		}
	}
	slices.SortFunc(lines, bytes.Compare)
	r.Sealed = id.HashOf(bytes.Join(lines, nil))
	return r, nil, seals, nil
}

func (c RetireKEK) record(uint64) (Record, []UnlockBlock, []Seal, error) {
	return Record{Kind: KEKRetired, KEK: c.Version}, nil, nil, nil
}

func (c SetUnlock) record(uint64) (Record, []UnlockBlock, []Seal, error) {
	r := Record{Kind: UnlockSet, Identity: c.Block.Identity, Unlock: c.Block.Hash()}
	return r, []UnlockBlock{c.Block}, nil, c.Block.check()
}

func (c ChangeMaster) record(uint64) (Record, []UnlockBlock, []Seal, error) {
	r := Record{Kind: MasterChanged, Identity: c.Block.Identity, Unlock: c.Block.Hash(), Master: c.Block.Master}
	return r, []UnlockBlock{c.Block}, nil, c.Block.check()
}

func (c Rekey) record(seq uint64) (Record, []UnlockBlock, []Seal, error) {
	r := Record{Kind: Rekeyed, Identity: c.Block.Identity, Public: c.Public, Unlock: c.Block.Hash(), Deks: c.Deks}
	seals := refer(&r, seq, c.Seals)
	return r, []UnlockBlock{c.Block}, seals, c.Block.check()
}

// refer adds references to seals, one per KEK, to record seq, and returns the
// seals in stored order.
func refer(r *Record, seq uint64, seals []Seal) []Seal {
	seals = slices.Clone(seals)
	slices.SortFunc(seals, func(a, b Seal) int { return cmp.Compare(a.KEK, b.KEK) })
	for i := range seals {
		seals[i].Record = seq
		r.Seals = append(r.Seals, SealRef{seals[i].KEK, seals[i].Hash()})
	}
	return seals
}

// Hash returns the SHA-256 of the unlock block's line, as records name it.
func (u *UnlockBlock) Hash() id.Hash { return id.HashOf(u.line()) }

// Hash returns the SHA-256 of the seal's line, as records name it.
func (s *Seal) Hash() id.Hash { return id.HashOf(s.line()) }

// check reports a block that a reader would refuse or that can't be used.
func (u *UnlockBlock) check() error {
	if err := u.KDF.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrChange, err)
	}
	if !canon.IsToken(u.Master, MaxMaster) {
		return fmt.Errorf("%w: master key scheme of %d characters", ErrChange, len(u.Master))
	}
	if len(u.Share) == 0 || len(u.Share) > MaxShare {
		return fmt.Errorf("%w: wrapped share of %d bytes, want 1 to %d", ErrChange, len(u.Share), MaxShare)
	}
	return nil
}

// Append returns members with a record for each change, all signed by one
// identity, and without the blocks that no live record names any more. It doesn't
// modify m. After a lost race, call it again on the newer members; a MakeKEK
// needs new seals if the identities have changed.
//
// The error is an *Error with its stage if a rule forbids the change, wraps
// ErrChange if the change is invalid, or is the signer's.
func (m *Members) Append(by Signer, changes ...Change) (*Members, error) {
	next := &Members{vault: m.vault, records: slices.Clip(m.records)}
	state := newChain()
	for i := range m.records {
		if err := state.apply(&m.records[i]); err != nil {
			return nil, &Error{ObjectMembers, m.records[i].line, err.stage, err.what}
		}
	}
	unlocks, seals := byHash(m.unlocks), map[sealKey]*Seal{}
	maps.Copy(seals, m.seals)
	for _, change := range changes {
		r, blocks, sealed, err := change.record(state.next)
		if err != nil {
			return nil, fmt.Errorf("append to members: %w", err)
		}
		if err := r.sign(state, by); err != nil {
			return nil, fmt.Errorf("append %s to members: %w", r.Kind, err)
		}
		if err := state.add(&r); err != nil {
			return nil, &Error{ObjectMembers, 0, err.stage, err.what}
		}
		next.records = append(next.records, r)
		for i := range blocks {
			unlocks[blocks[i].Hash()] = &blocks[i]
		}
		for i := range sealed {
			seals[sealed[i].key()] = &sealed[i]
		}
	}
	next.keepLive(state, unlocks, seals)
	// Parsing the result makes every check that a reader makes, and returns a value
	// that shares nothing with the caller's blocks.
	return ParseMembers(next.Encode(), m.vault)
}

// sign completes a record as the next one of the chain.
func (r *Record) sign(state *chain, by Signer) error {
	r.Seq, r.Prev, r.By = state.next, state.head, by.Identity()
	r.encodeBody()
	sig, err := by.Sign(RecordMessage(r.body))
	if err != nil {
		return err
	}
	if len(sig) != SignatureSize {
		return fmt.Errorf("signature has %d bytes, want %d", len(sig), SignatureSize)
	}
	copy(r.sig[:], sig)
	return nil
}

// keepLive sets the blocks that live records name. It skips a missing one, which
// parsing the result reports.
func (m *Members) keepLive(state *chain, unlocks map[id.Hash]*UnlockBlock, seals map[sealKey]*Seal) {
	m.unlocks, m.seals = map[id.Identity]*UnlockBlock{}, map[sealKey]*Seal{}
	for _, who := range state.live() {
		if u := unlocks[who.unlock]; u != nil {
			m.unlocks[who.ID] = u
		}
	}
	for key, s := range seals {
		if state.names(key) {
			m.seals[key] = s
		}
	}
}

func byHash(blocks map[id.Identity]*UnlockBlock) map[id.Hash]*UnlockBlock {
	out := make(map[id.Hash]*UnlockBlock, len(blocks))
	for _, b := range blocks {
		out[b.Hash()] = b
	}
	return out
}

// Founding is a vault being created. Its id is known, so that the first share can
// be wrapped and the private halves and KEK 1 sealed; nothing is stored yet.
type Founding struct {
	vault  id.Vault
	by     Signer
	record Record
}

// Found makes record 0, which adds the first identity, an owner, with its public
// keys and 16 random bytes. by signs as that identity.
func Found(by Signer, public Public, random [16]byte) (*Founding, error) {
	f := &Founding{by: by, record: Record{
		Kind: IdentityAdded, Identity: by.Identity(), Role: Owner, Public: public, Random: random,
	}}
	state := newChain()
	if err := f.record.sign(state, by); err != nil {
		return nil, fmt.Errorf("found vault: %w", err)
	}
	if err := state.add(&f.record); err != nil {
		return nil, &Error{ObjectMembers, 0, err.stage, err.what}
	}
	f.vault = id.Vault(f.record.Hash())
	return f, nil
}

// Vault returns the new vault's id.
func (f *Founding) Vault() id.Vault { return f.vault }

// Complete appends KEK 1, sealed to the first identity, and that identity's
// unlock block. The matching manifest is NewDeks of the result.
func (f *Founding) Complete(kek Seal, block UnlockBlock) (*Members, error) {
	m := &Members{vault: f.vault, records: []Record{f.record}}
	return m.Append(f.by, MakeKEK{Seals: []Seal{kek}}, SetUnlock{Block: block})
}
