package keyring

import (
	"crypto/ed25519"
	"fmt"

	"vigil/internal/id"
)

// chain is what the records so far say. Its rules are those of
// docs/vault-format.md, "Who may append what".
type chain struct {
	next       uint64  // number of the next record
	head       id.Hash // hash of the last record
	identities map[id.Identity]*identityState
	keks       map[uint64]*kekState
	newest     uint64 // version of the newest KEK; 0 before the first
	due        bool   // an identity left or was rekeyed since the newest KEK was made
}

type identityState struct {
	Identity
	live   bool
	unlock id.Hash // zero until set
	// unlockMaster is what a master-changed record says the block's master is.
	unlockMaster string
	// mayRotate lets a member who changed its passphrase make the one KEK that
	// the change calls for.
	mayRotate bool
}

type kekState struct {
	version uint64
	madeBy  id.Identity
	madeAt  uint64 // record number
	live    bool
	seals   map[id.Identity]id.Hash
}

func newChain() *chain {
	return &chain{identities: map[id.Identity]*identityState{}, keks: map[uint64]*kekState{}}
}

// stageError is an Error that doesn't know its line yet.
type stageError struct {
	stage Stage
	what  string
}

func (e *stageError) Error() string { return string(e.stage) + ": " + e.what }

func refuse(stage Stage, format string, args ...any) *stageError {
	return &stageError{stage, fmt.Sprintf(format, args...)}
}

// add checks a record with its signature, and takes it in.
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

// mayAppend holds the rules of roles. An owner may append everything but the
// rekeying of somebody else.
func (c *chain) mayAppend(by *identityState, r *Record) *stageError {
	own := r.Identity == by.ID
	if r.Kind == Rekeyed && !own {
		return refuse(StageAuthorisation, "only %v may change its own keys", r.Identity)
	}
	if by.Role == Owner {
		return nil
	}
	switch r.Kind {
	case UnlockSet, MasterChanged, Rekeyed:
		if own {
			return nil
		}
	case KEKSealed:
		if len(r.Seals) == 1 && r.Seals[0].Identity == by.ID {
			return nil
		}
	case KEKMade:
		if by.mayRotate {
			return nil
		}
	case KEKRetired:
		if k := c.keks[c.newest]; k != nil && k.madeBy == by.ID {
			return nil
		}
	}
	return refuse(StageAuthorisation, "%v is a member and may not append this %s", by.ID, r.Kind)
}

// apply takes in what a record says. Whether its signer may say it was checked.
func (c *chain) apply(r *Record) *stageError {
	var err *stageError
	switch r.Kind {
	case IdentityAdded:
		err = c.applyAdded(r)
	case IdentityRemoved:
		err = c.applyRemoved(r)
	case KEKMade, KEKSealed, KEKRetired:
		err = c.applyKEK(r)
	case UnlockSet, MasterChanged, Rekeyed:
		err = c.applyUnlock(r)
	}
	if err != nil {
		return err
	}
	c.next++
	c.head = r.Hash()
	return nil
}

func (c *chain) applyAdded(r *Record) *stageError {
	if c.identities[r.Identity] != nil {
		return refuse(StageChain, "identity %v was added before; ids are never used again", r.Identity)
	}
	if len(c.live()) >= MaxIdentities {
		return refuse(StageChain, "more than %d identities", MaxIdentities)
	}
	c.identities[r.Identity] = &identityState{live: true, Identity: Identity{
		ID: r.Identity, Role: r.Role, Public: r.Public, AddedBy: r.By, Seq: r.Seq,
	}}
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
	who.live = false
	c.dropSeals(r.Identity)
	c.due = true
	return nil
}

func (c *chain) applyKEK(r *Record) *stageError {
	k := c.keks[r.KEK]
	switch r.Kind {
	case KEKMade:
		if r.KEK != c.newest+1 {
			return refuse(StageChain, "KEK %d doesn't follow KEK %d", r.KEK, c.newest)
		}
		k = &kekState{version: r.KEK, madeBy: r.By, madeAt: r.Seq, live: true, seals: map[id.Identity]id.Hash{}}
		if len(r.Seals) != len(c.live()) {
			return refuse(StageChain, "KEK %d isn't sealed to every identity, each once", r.KEK)
		}
	case KEKRetired:
		if k == nil || !k.live || k.version == c.newest {
			return refuse(StageChain, "KEK %d isn't live, or is the newest", r.KEK)
		}
		k.live, k.seals = false, nil
		return nil
	default:
		if k == nil || !k.live {
			return refuse(StageChain, "KEK %d isn't live", r.KEK)
		}
	}
	for _, ref := range r.Seals {
		if _, err := c.liveIdentity(ref.Identity); err != nil {
			return err
		}
		k.seals[ref.Identity] = ref.SHA256
	}
	if r.Kind == KEKMade {
		c.keks[r.KEK], c.newest, c.due = k, r.KEK, false
		for _, who := range c.identities {
			who.mayRotate = false
		}
	}
	return nil
}

func (c *chain) applyUnlock(r *Record) *stageError {
	who, err := c.liveIdentity(r.Identity)
	if err != nil {
		return err
	}
	if r.Kind == Rekeyed {
		if r.Public.HPKE == who.Public.HPKE || r.Public.Ed25519 == who.Public.Ed25519 {
			return refuse(StageChain, "%v is rekeyed with a key it has", r.Identity)
		}
		who.Public = r.Public
		who.mayRotate = true
		c.dropSeals(r.Identity)
		c.due = true
	}
	who.unlock, who.unlockMaster = r.Unlock, r.Master
	return nil
}

// dropSeals forgets the seals to an identity that is gone or has new keys.
func (c *chain) dropSeals(identity id.Identity) {
	for _, k := range c.keks {
		delete(k.seals, identity)
	}
}

func (c *chain) liveIdentity(identity id.Identity) (*identityState, *stageError) {
	if who := c.identities[identity]; who != nil && who.live {
		return who, nil
	}
	return nil, refuse(StageChain, "%v is not an identity of the vault", identity)
}

func (c *chain) live() []*identityState {
	var out []*identityState
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
