package keyring

import (
	"crypto/ed25519"
	"fmt"
	"slices"

	"vigil/internal/id"
)

// chain is the state after the records read so far. Its rules are those of
// docs/vault-format.md, "Who may write what".
type chain struct {
	next       uint64  // number of the next record
	head       id.Hash // hash of the last record
	size       int     // bytes of the records' lines
	identities map[id.Identity]*identityState
	alive      int // identities that are live
	keks       map[uint64]*kekState
	liveKEKs   int
	newest     uint64 // version of the newest KEK; 0 before the first
	due        bool   // an identity left or was rekeyed since the newest KEK was made
}

type identityState struct {
	Identity
	live      bool
	removedAt uint64    // record number
	keyAt     uint64    // number of the record that has its public keys
	seals     []SealRef // of that record
	unlock    id.Hash   // zero until set
	// unlockMaster is the master key scheme that a master-changed record names.
	unlockMaster string
	own          int // records that it appended while not an owner
	// went are its former keys, each with the one manifest that it still verifies:
	// the last one accepted before the change.
	went []wentKey
}

type kekState struct {
	madeAt uint64 // record number
	live   bool
	sealed id.Hash // hash of its seals
}

// wentKey is a signing key that was replaced or removed.
type wentKey struct {
	deks    id.Hash
	ed25519 [Ed25519PublicSize]byte
}

func newChain() *chain {
	return &chain{identities: map[id.Identity]*identityState{}, keks: map[uint64]*kekState{}}
}

// stageError is an Error without its line number.
type stageError struct {
	stage Stage
	what  string
}

func (e *stageError) Error() string { return string(e.stage) + ": " + e.what }

func refuse(stage Stage, format string, args ...any) *stageError {
	return &stageError{stage, fmt.Sprintf(format, args...)}
}

// add checks a record and its signature, and applies it.
func (c *chain) add(r *Record) *stageError {
	if err := c.follows(r); err != nil {
		return err
	}
	signer := &r.Public
	if r.Seq > 0 {
		by := c.identities[r.By]
		if by == nil || !by.live {
			return refuse(StageAuthorisation, "signer %v is not an identity of the vault", r.By)
		}
		// Taken before the record is applied: the old key signs a rekeying.
		pub := by.Public
		signer = &pub
		if err := c.mayAppend(by, r); err != nil {
			return err
		}
	}
	if !ed25519.Verify(signer.Ed25519[:], RecordMessage(r.body), r.sig[:]) {
		return refuse(StageSignature, "not signed by %v", r.By)
	}
	return c.apply(r)
}

// follows checks a record's place in the chain.
func (c *chain) follows(r *Record) *stageError {
	switch {
	case r.Seq != c.next:
		return refuse(StageChain, "record number is %d, want %d", r.Seq, c.next)
	case r.Prev != c.head:
		return refuse(StageChain, "names another record before it")
	case r.Seq == 0 && (r.Kind != IdentityAdded || r.Role != Owner || r.Identity != r.By):
		return refuse(StageChain, "record 0 doesn't add the owner who signs it")
	case r.Seq == 1 && (r.Kind != KEKMade || r.KEK != 1):
		return refuse(StageChain, "record 1 doesn't make KEK 1")
	}
	return nil
}

// mayAppend applies the rules of roles: an identity may change its own factors;
// everything else is up to the owners. An identity that isn't an owner may append
// only a few records, or it could fill the chain and prevent its own removal.
func (c *chain) mayAppend(by *identityState, r *Record) *stageError {
	switch r.Kind {
	case UnlockSet, MasterChanged, Rekeyed:
		if r.Identity != by.ID {
			return refuse(StageAuthorisation, "only %v may change how it unlocks", r.Identity)
		}
	default:
		if by.Role != Owner {
			return refuse(StageAuthorisation, "%v is not an owner and may not append this %s", by.ID, r.Kind)
		}
	}
	switch {
	case by.Role == Owner:
		return nil
	case by.own >= MaxOwnRecords:
		return refuse(StageAuthorisation, "%v has appended %d records, which is all it may", by.ID, by.own)
	case c.next >= MaxRecords-OwnerRecords || c.size > MaxObject-OwnerBytes:
		return refuse(StageAuthorisation, "the remaining room is reserved for owners")
	}
	return nil
}

// apply applies a record. The caller has checked that its signer may write it.
func (c *chain) apply(r *Record) *stageError {
	var err *stageError
	switch r.Kind {
	case IdentityAdded:
		err = c.applyAdded(r)
	case IdentityRemoved:
		err = c.applyRemoved(r)
	case KEKMade, KEKRetired:
		err = c.applyKEK(r)
	case UnlockSet, MasterChanged, Rekeyed:
		err = c.applyUnlock(r)
	}
	if err != nil {
		return err
	}
	if by := c.identities[r.By]; by.Role != Owner {
		by.own++
	}
	c.next++
	c.size += r.lineSize()
	c.head = r.Hash()
	return nil
}

func (c *chain) applyAdded(r *Record) *stageError {
	if c.identities[r.Identity] != nil {
		return refuse(StageChain, "identity %v was added before; ids are never used again", r.Identity)
	}
	if c.alive >= MaxIdentities {
		return refuse(StageChain, "more than %d identities", MaxIdentities)
	}
	if err := c.checkKeys(r); err != nil {
		return err
	}
	c.alive++
	c.identities[r.Identity] = &identityState{
		Identity: Identity{ID: r.Identity, Role: r.Role, Public: r.Public, AddedBy: r.By, Seq: r.Seq},
		live:     true, keyAt: r.Seq, seals: r.Seals, unlock: r.Unlock,
	}
	return nil
}

// checkKeys refuses keys that can't be sealed to, which would make every later
// rotation fail, and seals of KEKs that aren't live.
func (c *chain) checkKeys(r *Record) *stageError {
	if err := r.Public.check(); err != nil {
		return refuse(StageChain, "%v has an invalid public key: %v", r.Identity, err)
	}
	for _, ref := range r.Seals {
		if k := c.keks[ref.KEK]; k == nil || !k.live {
			return refuse(StageChain, "KEK %d isn't live", ref.KEK)
		}
	}
	return nil
}

func (c *chain) applyRemoved(r *Record) *stageError {
	who, err := c.liveIdentity(r.Identity)
	if err != nil {
		return err
	}
	if who.Role == Owner && c.owners() == 1 {
		return refuse(StageChain, "%v is the last owner", r.Identity)
	}
	// A manifest that it named when it changed its own keys may be one that it has
	// prepared but not yet stored. Only the one that the remover names counts.
	who.went = slices.DeleteFunc(slices.Clone(who.went), func(w wentKey) bool { return w.deks != r.Deks })
	who.lose(r.Deks)
	who.live, who.removedAt, who.seals = false, r.Seq, nil
	c.alive--
	c.due = true
	return nil
}

// lose keeps the key of an identity that is removed or rekeyed, to verify its
// last manifest. A reader never writes one.
func (who *identityState) lose(deks id.Hash) {
	if who.Role != Reader {
		who.went = append(who.went, wentKey{deks, who.Public.Ed25519})
	}
}

func (c *chain) applyKEK(r *Record) *stageError {
	if r.Kind == KEKRetired {
		k := c.keks[r.KEK]
		if k == nil || !k.live || r.KEK == c.newest {
			return refuse(StageChain, "KEK %d isn't live, or is the newest", r.KEK)
		}
		k.live = false
		c.liveKEKs--
		return nil
	}
	if r.KEK != c.newest+1 {
		return refuse(StageChain, "KEK %d doesn't follow KEK %d", r.KEK, c.newest)
	}
	if c.liveKEKs == MaxKEKs {
		return refuse(StageChain, "more than %d KEKs", MaxKEKs)
	}
	c.keks[r.KEK] = &kekState{madeAt: r.Seq, live: true, sealed: r.Sealed}
	c.newest, c.due = r.KEK, false
	c.liveKEKs++
	return nil
}

func (c *chain) applyUnlock(r *Record) *stageError {
	who, err := c.liveIdentity(r.Identity)
	if err != nil {
		return err
	}
	switch r.Kind {
	case UnlockSet:
		if !who.unlock.IsZero() {
			return refuse(StageChain, "%v has an unlock block", r.Identity)
		}
	case Rekeyed:
		if r.Public.HPKE == who.Public.HPKE || r.Public.Ed25519 == who.Public.Ed25519 {
			return refuse(StageChain, "%v is rekeyed with a key it has", r.Identity)
		}
		if err := c.checkKeys(r); err != nil {
			return err
		}
		who.lose(r.Deks)
		who.Public, who.keyAt, who.seals = r.Public, r.Seq, r.Seals
		c.due = true
	}
	who.unlock, who.unlockMaster = r.Unlock, r.Master
	return nil
}

func (c *chain) liveIdentity(identity id.Identity) (*identityState, *stageError) {
	if who := c.identities[identity]; who != nil && who.live {
		return who, nil
	}
	return nil, refuse(StageChain, "%v is not an identity of the vault", identity)
}

func (c *chain) live() []*identityState {
	out := make([]*identityState, 0, c.alive)
	for _, who := range c.identities {
		if who.live {
			out = append(out, who)
		}
	}
	return out
}

func (c *chain) owners() (n int) {
	for _, who := range c.identities {
		if who.live && who.Role == Owner {
			n++
		}
	}
	return n
}

// at reports whether the identity was live at the given record.
func (who *identityState) at(record uint64) bool {
	return who.Seq < record && (who.live || who.removedAt > record)
}

// sealOf returns the hash of a KEK's seal, as named by the record that holds the
// identity's keys.
func (who *identityState) sealOf(kek uint64) (id.Hash, bool) {
	for _, ref := range who.seals {
		if ref.KEK == kek {
			return ref.SHA256, true
		}
	}
	return id.Hash{}, false
}
