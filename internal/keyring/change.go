package keyring

import (
	"fmt"
	"slices"
	"strings"

	"vigil/internal/canon"
	"vigil/internal/id"
)

// Signer signs records as one identity. envelope.Halves is one.
type Signer interface {
	// Identity returns whose signature it makes.
	Identity() id.Identity
	// Sign returns the Ed25519 signature of message.
	Sign(message []byte) ([]byte, error)
}

// Change is one thing to append to members. The implementations are those of
// this package.
type Change interface {
	// record fills in what the change says. Append does the rest.
	record() (Record, []UnlockBlock, []Seal, error)
}

// AddIdentity admits an identity. Its unlock block and its KEK seals follow
// as SetUnlock and one SealKEK for each live KEK.
type AddIdentity struct {
	ID     id.Identity
	Role   Role
	Public Public
}

// RemoveIdentity drops an identity, its unlock block and its seals. MakeKEK
// should follow: the identity knows the KEKs there are.
type RemoveIdentity struct{ ID id.Identity }

// MakeKEK adds the next KEK version, sealed to every live identity. Seals may
// be in any order.
type MakeKEK struct{ Seals []Seal }

// SealKEK adds seals of one live KEK, for identities that were added or
// rekeyed after it was made.
type SealKEK struct{ Seals []Seal }

// RetireKEK drops a KEK version and its seals, once no DEK is wrapped by it.
type RetireKEK struct{ Version uint64 }

// SetUnlock sets or replaces an identity's unlock block.
type SetUnlock struct{ Block UnlockBlock }

// ChangeMaster replaces an identity's unlock block by one whose share is
// wrapped by another master key.
type ChangeMaster struct{ Block UnlockBlock }

// Rekey replaces the signer's own key pairs and unlock block, as a change of
// passphrase does. Its KEK seals are dropped: SealKEK for each live KEK and
// MakeKEK follow, signed by the new key.
type Rekey struct {
	Public Public
	Block  UnlockBlock
}

func (c AddIdentity) record() (Record, []UnlockBlock, []Seal, error) {
	if c.Role != Owner && c.Role != Member {
		return Record{}, nil, nil, fmt.Errorf("%w: role %q", ErrChange, c.Role)
	}
	return Record{Kind: IdentityAdded, Identity: c.ID, Role: c.Role, Public: c.Public}, nil, nil, nil
}

func (c RemoveIdentity) record() (Record, []UnlockBlock, []Seal, error) {
	return Record{Kind: IdentityRemoved, Identity: c.ID}, nil, nil, nil
}

func (c MakeKEK) record() (Record, []UnlockBlock, []Seal, error) { return sealRecord(KEKMade, c.Seals) }

func (c SealKEK) record() (Record, []UnlockBlock, []Seal, error) {
	return sealRecord(KEKSealed, c.Seals)
}

func (c RetireKEK) record() (Record, []UnlockBlock, []Seal, error) {
	return Record{Kind: KEKRetired, KEK: c.Version}, nil, nil, nil
}

func (c SetUnlock) record() (Record, []UnlockBlock, []Seal, error) {
	r := Record{Kind: UnlockSet, Identity: c.Block.Identity, Unlock: c.Block.Hash()}
	return r, []UnlockBlock{c.Block}, nil, c.Block.check()
}

func (c ChangeMaster) record() (Record, []UnlockBlock, []Seal, error) {
	r := Record{Kind: MasterChanged, Identity: c.Block.Identity, Unlock: c.Block.Hash(), Master: c.Block.Master}
	return r, []UnlockBlock{c.Block}, nil, c.Block.check()
}

func (c Rekey) record() (Record, []UnlockBlock, []Seal, error) {
	r := Record{Kind: Rekeyed, Identity: c.Block.Identity, Public: c.Public, Unlock: c.Block.Hash()}
	return r, []UnlockBlock{c.Block}, nil, c.Block.check()
}

func sealRecord(kind Kind, seals []Seal) (Record, []UnlockBlock, []Seal, error) {
	if len(seals) == 0 {
		return Record{}, nil, nil, fmt.Errorf("%w: %s without a seal", ErrChange, kind)
	}
	r := Record{Kind: kind, KEK: seals[0].KEK}
	for i := range seals {
		if seals[i].KEK != r.KEK {
			return Record{}, nil, nil, fmt.Errorf("%w: seals of KEKs %d and %d in one record", ErrChange, r.KEK, seals[i].KEK)
		}
		r.Seals = append(r.Seals, SealRef{seals[i].Identity, seals[i].Hash()})
	}
	slices.SortFunc(r.Seals, func(a, b SealRef) int {
		return strings.Compare(a.Identity.String(), b.Identity.String())
	})
	return r, nil, seals, nil
}

// Hash returns the SHA-256 of the unlock block's line, as records name it.
func (u *UnlockBlock) Hash() id.Hash { return id.HashOf(u.line()) }

// Hash returns the SHA-256 of the seal's line, as records name it.
func (s *Seal) Hash() id.Hash { return id.HashOf(s.line()) }

// check reports a block that a reader would refuse, or that nobody may use.
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
// identity, and without the blocks that no live record names any more. m stays
// as it was. After a lost race, call it again on the newer members; a MakeKEK
// needs new seals when the identities have changed.
//
// Errors are those of the rules (*Error with the stage), of a change that says
// nothing valid (ErrChange), or of the signer.
func (m *Members) Append(by Signer, changes ...Change) (*Members, error) {
	next := &Members{vault: m.vault, records: slices.Clip(m.records)}
	state := newChain()
	for i := range m.records {
		if err := state.apply(&m.records[i]); err != nil {
			return nil, &Error{ObjectMembers, m.records[i].line, err.stage, err.what}
		}
	}
	unlocks, seals := byHash(m.unlocks), byHash(m.seals)
	for _, change := range changes {
		r, blocks, sealed, err := change.record()
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
			seals[sealed[i].Hash()] = &sealed[i]
		}
	}
	next.keepLive(state, unlocks, seals)
	// Reading it back checks what a reader will check, and gives a value that
	// shares nothing with the caller's blocks.
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

// keepLive sets the blocks that live records name. One that is missing is left
// out, and reading back reports it.
func (m *Members) keepLive(state *chain, unlocks map[id.Hash]*UnlockBlock, seals map[id.Hash]*Seal) {
	m.unlocks, m.seals = map[id.Identity]*UnlockBlock{}, map[sealKey]*Seal{}
	for _, who := range state.live() {
		if u := unlocks[who.unlock]; u != nil {
			m.unlocks[who.ID] = u
		}
	}
	for _, k := range state.keks {
		for identity, hash := range k.seals {
			if s := seals[hash]; s != nil {
				m.seals[sealKey{k.version, identity}] = s
			}
		}
	}
}

func byHash[K comparable, B interface{ Hash() id.Hash }](blocks map[K]B) map[id.Hash]B {
	out := make(map[id.Hash]B, len(blocks))
	for _, b := range blocks {
		out[b.Hash()] = b
	}
	return out
}

// Founding is a vault being made: its id is known, so that the first share can
// be wrapped, the private halves sealed and KEK 1 sealed; nothing is stored yet.
type Founding struct {
	vault  id.Vault
	by     Signer
	record Record
}

// Found makes record 0: the first identity, an owner, with its public keys and
// 16 random bytes. by signs as that identity.
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

// Complete appends KEK 1, sealed to the first identity, and its unlock block.
// The matching manifest is NewDeks(m).
func (f *Founding) Complete(kek Seal, block UnlockBlock) (*Members, error) {
	m := &Members{vault: f.vault, records: []Record{f.record}}
	return m.Append(f.by, MakeKEK{Seals: []Seal{kek}}, SetUnlock{Block: block})
}
