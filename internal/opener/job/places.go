package job

import (
	"context"
	"fmt"

	"vigil/internal/backend"
	"vigil/internal/backend/file"
	"vigil/internal/id"
	"vigil/internal/master"
	"vigil/internal/master/local"
	"vigil/internal/opener"
)

// store opens the backend of a vault.
func store(p opener.Place) (backend.Store, error) {
	uri, err := backend.ParseURI(p.Backend)
	if err != nil {
		return nil, &opener.Error{Kind: opener.Misconfigured, Message: err.Error(), Next: "Correct `backend` in the vault's configuration."}
	}
	switch uri.Scheme {
	case backend.SchemeFile:
		if uri.Path != "" {
			return file.New(uri.Path), nil
		}
		return file.New(p.KeyringDir), nil
	}
	return nil, &opener.Error{Kind: opener.Misconfigured, Message: fmt.Sprintf("backend %q is not supported by this build", uri.Scheme)}
}

// masterKey opens the master key of a vault.
func (j *job) masterKey(p opener.Place) (master.Key, error) {
	uri, err := master.ParseURI(p.Master)
	if err != nil {
		return nil, &opener.Error{Kind: opener.Misconfigured, Message: err.Error(), Next: "Correct `master` in the vault's configuration."}
	}
	switch uri.Scheme {
	case master.SchemeLocal:
		return local.New(p.DeviceDir, j.slab), nil
	}
	return nil, &opener.Error{Kind: opener.Misconfigured, Message: fmt.Sprintf("master key %q is not supported by this build", uri.Scheme)}
}

func shareContext(vault id.Vault, identity id.Identity) master.Context {
	return master.Context{Vault: vault, Identity: identity, Purpose: master.PurposeUnlock}
}

// fetchAll reads both objects, whatever their versions.
func fetchAll(ctx context.Context, s backend.Store) (opener.Fetched, error) {
	return fetchNewer(ctx, s, "", "")
}

// fetchNewer reads the objects that are not at the versions the front has.
func fetchNewer(ctx context.Context, s backend.Store, members, deks backend.Version) (f opener.Fetched, err error) {
	f.Members, f.MembersVersion, err = getNewer(ctx, s, backend.Members, members)
	if err != nil {
		return f, err
	}
	f.Deks, f.DeksVersion, err = getNewer(ctx, s, backend.Deks, deks)
	return f, err
}
