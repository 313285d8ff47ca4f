package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// Keyring is the last good pair of keyring objects, as the backend stores
// them, with the backend's versions of them.
type Keyring struct {
	Members, Deks               []byte
	MembersVersion, DeksVersion string
	Fetched                     time.Time // when the backend last confirmed them
}

// keptKeyring is the body of keyring.json. The objects lie beside it as they
// are, in files called by their hash: they're megabytes, and members seldom changes.
type keptKeyring struct {
	Members        id.Hash   `json:"members"`
	Deks           id.Hash   `json:"deks"`
	MembersVersion string    `json:"members_version"`
	DeksVersion    string    `json:"deks_version"`
	Fetched        time.Time `json:"fetched"`
}

// Names of an object's file: a prefix, and its SHA-256.
const (
	membersPrefix = "members-"
	deksPrefix    = "deks-"
)

// Keyring returns what SetKeyring kept; ErrNone when nothing was.
func (v *Vault) Keyring() (Keyring, error) {
	var kept keptKeyring
	if err := read(v.file("keyring.json"), "keyring", &kept); err != nil {
		return Keyring{}, err
	}
	k := Keyring{MembersVersion: kept.MembersVersion, DeksVersion: kept.DeksVersion, Fetched: kept.Fetched}
	var err error
	if k.Members, err = v.object(membersPrefix, kept.Members); err != nil {
		return Keyring{}, err
	}
	k.Deks, err = v.object(deksPrefix, kept.Deks)
	return k, err
}

func (v *Vault) object(prefix string, sum id.Hash) ([]byte, error) {
	path := v.file(prefix + sum.String())
	data, err := durable.ReadFile(path, keyring.MaxObject)
	if err == nil && id.HashOf(data) != sum {
		err = errors.New("its content is not what was kept")
	}
	if err != nil {
		return nil, &CorruptError{File: path, Err: err}
	}
	return data, nil
}

// SetKeyring keeps k. The caller has verified it, and calls Advance after
// this: a crash in between leaves a good keyring newer than the pins. The
// objects are on the disk before what names them.
func (v *Vault) SetKeyring(ctx context.Context, k Keyring) error {
	return v.locked(ctx, func() error {
		kept := keptKeyring{
			Members: id.HashOf(k.Members), Deks: id.HashOf(k.Deks),
			MembersVersion: k.MembersVersion, DeksVersion: k.DeksVersion, Fetched: k.Fetched,
		}
		for _, o := range []struct {
			name string
			data []byte
		}{{membersPrefix + kept.Members.String(), k.Members}, {deksPrefix + kept.Deks.String(), k.Deks}} {
			err := durable.Create(v.file(o.name), o.data, fileMode)
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		if err := write(v.file("keyring.json"), "keyring", kept); err != nil {
			return err
		}
		return v.dropObjects(kept)
	})
}

// dropObjects removes the objects that keep doesn't name.
func (v *Vault) dropObjects(keep keptKeyring) error {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return fmt.Errorf("list kept keyring objects: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		old := strings.HasPrefix(name, membersPrefix) && name != membersPrefix+keep.Members.String() ||
			strings.HasPrefix(name, deksPrefix) && name != deksPrefix+keep.Deks.String()
		if !old {
			continue
		}
		if err := os.Remove(v.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop kept keyring object: %w", &durable.WriteError{Path: v.file(name), Step: "unlink", Err: err})
		}
	}
	return nil
}
