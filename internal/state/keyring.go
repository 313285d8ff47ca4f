package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"vigil/internal/backend"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keyring"
)

// keptKeyring is the body of keyring.json. The objects are beside it, unencoded,
// in files named by their hash: they are megabytes, and members rarely changes.
type keptKeyring struct {
	Members        id.Hash         `json:"members"`
	Deks           id.Hash         `json:"deks"`
	MembersVersion backend.Version `json:"members_version"`
	DeksVersion    backend.Version `json:"deks_version"`
	Fetched        time.Time       `json:"fetched"`
}

// Prefixes of the objects' file names; the object's SHA-256 follows.
const (
	membersPrefix = "members-"
	deksPrefix    = "deks-"
)

// Keyring returns what SetKeyring kept, or ErrNone.
func (v *Vault) Keyring() (k backend.Keyring, fetched time.Time, err error) {
	var kept keptKeyring
	if err := read(v.file("keyring.json"), "keyring", &kept); err != nil {
		return k, fetched, err
	}
	members, err := v.object(membersPrefix, kept.Members)
	if err != nil {
		return k, fetched, err
	}
	deks, err := v.object(deksPrefix, kept.Deks)
	if err != nil {
		return k, fetched, err
	}
	return backend.Keyring{Members: members, MembersVersion: kept.MembersVersion, Deks: deks, DeksVersion: kept.DeksVersion}, kept.Fetched, nil
}

func (v *Vault) object(prefix string, sum id.Hash) ([]byte, error) {
	path := v.file(prefix + sum.String())
	data, err := durable.ReadFile(path, keyring.MaxObject)
	if err == nil && id.HashOf(data) != sum {
		err = errors.New("content does not match its hash")
	}
	if err != nil {
		return nil, &CorruptError{File: path, Err: err}
	}
	return data, nil
}

// SetKeyring keeps k, which the backend confirmed last at fetched. The caller has
// verified k, and calls Advance afterwards: a crash in between leaves a good keyring
// newer than the pins. The objects are synced to disk before the file that names them.
func (v *Vault) SetKeyring(ctx context.Context, k backend.Keyring, fetched time.Time) error {
	return v.locked(ctx, func() error {
		kept := keptKeyring{
			Members: id.HashOf(k.Members), Deks: id.HashOf(k.Deks),
			MembersVersion: k.MembersVersion, DeksVersion: k.DeksVersion, Fetched: fetched,
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
