package job

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"vigil/internal/backend"
	"vigil/internal/backend/file"
	"vigil/internal/envelope"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/master"
	"vigil/internal/master/local"
	"vigil/internal/opener"
	"vigil/internal/vaultfile"
)

// create makes a vault: its first identity, an owner, and KEK 1. It stores only the
// local master's key.
func (j *job) create(ctx context.Context, req *opener.Create) (*opener.Created, error) {
	s, err := j.store(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	if err := vacant(ctx, s); err != nil {
		return nil, err
	}
	// A store without compare-and-swap would lose other devices' changes.
	if _, here := s.(*file.Store); !here {
		if err := s.Probe(ctx); err != nil {
			return nil, err
		}
	}
	key, err := j.masterKey(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	if l, ok := key.(*local.Key); ok {
		if err := l.Create(); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	seeds, err := j.slab.Alloc(envelope.HalvesSize)
	if err != nil {
		return nil, err
	}
	kek, err := j.slab.Alloc(envelope.KeySize)
	if err != nil {
		return nil, err
	}
	defer kek.Free()
	halves, err := envelope.GenerateHalves(id.NewIdentity(), seeds.Bytes())
	if err != nil {
		return nil, err
	}
	members, deks, err := j.makeKeyring(ctx, req, key, halves, kek.Bytes())
	if err != nil {
		seeds.Free()
		return nil, err
	}
	j.made = &identity{vault: members.Vault(), id: halves.Identity(), seeds: seeds}
	created := &opener.Created{Vault: members.Vault(), Identity: halves.Identity(), Header: vaultfile.Header(members.Vault()), Calls: key.Calls()}
	created.Keyring, created.Keep = backend.Keyring{Members: members.Encode(), Deks: deks}, j.kept
	return created, nil
}

// identity is an identity whose private keys this process holds.
type identity struct {
	vault id.Vault
	id    id.Identity
	seeds *guard.Buffer
}

// handOver gives a keeper the identity of the vault that this process made.
func (j *job) handOver(_ context.Context, req *opener.HandOver) (*opener.HandedOver, error) {
	if j.made == nil {
		return nil, errors.New("enter vault: this opener has made none")
	}
	keeper, err := handed(req.Keeper)
	if err != nil {
		return nil, err
	}
	defer keeper.Close()
	defer j.made.seeds.Free()
	if err := handover.Identity(keeper, j.made.vault, j.made.id, j.made.seeds.Bytes()); err != nil {
		return nil, &opener.Error{Kind: opener.KeeperRefused, Message: err.Error()}
	}
	j.made = nil
	return &opener.HandedOver{}, nil
}

// storeNew stores the keyring of a new vault.
func (j *job) storeNew(ctx context.Context, req *opener.StoreNew) (*backend.Keyring, error) {
	s, err := j.store(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	return &req.Keyring, storeNew(ctx, s, &req.Keyring)
}

// vacant returns an error if a keyring would be overwritten.
func vacant(ctx context.Context, s backend.Store) error {
	_, _, err := s.Get(ctx, backend.Members, "")
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return nil
	case err == nil:
		return &opener.Error{
			Kind: opener.Exists, Message: "the backend has a keyring already",
			Next: "Choose another place for the new vault, or move the old keyring away.",
		}
	}
	return err
}

// makeKeyring makes the records, the unlock block and the first manifest.
func (j *job) makeKeyring(ctx context.Context, req *opener.Create, key master.Key, halves *envelope.Halves, kek []byte) (*keyring.Members, []byte, error) {
	public, err := halves.Public()
	if err != nil {
		return nil, nil, err
	}
	var random [16]byte
	rand.Read(random[:])
	founding, err := keyring.Found(halves, public, random)
	if err != nil {
		return nil, nil, err
	}
	vault := founding.Vault()
	block, err := j.sealIdentity(ctx, req, key, halves, vault)
	if err != nil {
		return nil, nil, err
	}
	if err := envelope.NewKey(kek); err != nil {
		return nil, nil, err
	}
	seal, err := envelope.SealKEK(kek, keyring.Identity{ID: halves.Identity(), Role: keyring.Owner, Public: public}, vault, 1)
	if err != nil {
		return nil, nil, err
	}
	members, err := founding.Complete(seal, block)
	if err != nil {
		return nil, nil, err
	}
	deks, err := keyring.NewDeks(members).Encode(halves, func(version uint64, hash id.Hash) ([keyring.MACSize]byte, error) {
		return envelope.DeksMAC(kek, vault, version, hash)
	})
	return members, deks, err
}

// sealIdentity makes the unlock block: a new share from the master key, the stretched
// passphrase, and the private keys sealed by both.
func (j *job) sealIdentity(ctx context.Context, req *opener.Create, key master.Key, halves *envelope.Halves, vault id.Vault) (block keyring.UnlockBlock, err error) {
	identity := halves.Identity()
	block = keyring.UnlockBlock{Identity: identity}
	if block.KDF, err = newKDF(req); err != nil {
		return block, err
	}
	uri, err := master.ParseURI(req.Place.Master)
	if err != nil {
		return block, err
	}
	block.Master = uri.Scheme
	keys, err := j.slab.Alloc(3 * envelope.KeySize)
	if err != nil {
		return block, err
	}
	defer keys.Free()
	share, stretched, unlockKey := split(keys.Bytes())
	if err := j.stretch(stretched, req.Passphrase, block.KDF); err != nil {
		return block, err
	}
	if block.Share, err = key.Generate(ctx, share, shareContext(vault, identity)); err != nil {
		return block, err
	}
	if err := envelope.UnlockKey(unlockKey, share, stretched, vault, identity, block.KDF); err != nil {
		return block, err
	}
	if block.Halves, err = envelope.SealHalves(unlockKey, halves, vault); err != nil {
		return block, err
	}
	here := req.Place
	here.Vault = vault
	o := &opened{identity: identity}
	err = j.keepShare(ctx, o, here, share, req.KeepOffline)
	j.kept = o.keep
	return block, err
}

func newKDF(req *opener.Create) (keyring.KDF, error) {
	var salt [keyring.KDFSaltSize]byte
	rand.Read(salt[:])
	k := keyring.DefaultKDF(salt)
	// A value that doesn't fit its field becomes the largest one, which is also out
	// of range.
	if req.MemoryKiB != 0 {
		k.Memory = uint32(min(uint64(req.MemoryKiB), math.MaxUint32))
	}
	if req.Time != 0 {
		k.Time = uint32(min(uint64(req.Time), math.MaxUint32))
	}
	if req.Lanes != 0 {
		k.Lanes = uint8(min(uint64(req.Lanes), math.MaxUint8))
	}
	if err := k.Check(); err != nil {
		return k, &opener.Error{Kind: opener.BadInput, Message: err.Error(), Next: "Choose other parameters, or none for the defaults."}
	}
	return k, nil
}

// storeNew stores deks before members, so that a reader that finds members finds both.
func storeNew(ctx context.Context, s backend.Store, f *backend.Keyring) error {
	var err error
	if f.DeksVersion, err = s.Put(ctx, backend.Deks, f.Deks, ""); errors.Is(err, fault.ErrConflict) {
		// Left by a creation interrupted before it stored members. Without members,
		// nothing was ever wrapped under it.
		f.DeksVersion, err = replaceOrphan(ctx, s, f.Deks)
	}
	if err != nil {
		return fmt.Errorf("store new keyring: %w", err)
	}
	if f.MembersVersion, err = s.Put(ctx, backend.Members, f.Members, ""); err != nil {
		return fmt.Errorf("store new keyring: %w", err)
	}
	return nil
}

func replaceOrphan(ctx context.Context, s backend.Store, deks []byte) (backend.Version, error) {
	if err := vacant(ctx, s); err != nil {
		return "", err
	}
	_, version, err := s.Get(ctx, backend.Deks, "")
	if err != nil {
		return "", err
	}
	return s.Put(ctx, backend.Deks, deks, version)
}
