package job

import (
	"context"
	"os"

	"vigil/internal/awsauth"
	"vigil/internal/backend"
	"vigil/internal/backend/file"
	"vigil/internal/backend/s3"
	"vigil/internal/device"
	"vigil/internal/id"
	"vigil/internal/master"
	"vigil/internal/master/awskms"
	"vigil/internal/master/local"
	"vigil/internal/opener"
)

// store opens the backend of a vault.
func (j *job) store(ctx context.Context, p opener.Place) (backend.Store, error) {
	uri, err := backend.ParseURI(p.Backend)
	if err != nil {
		return nil, &opener.Error{Kind: opener.Misconfigured, Message: err.Error(), Next: "Correct `backend` in the vault's configuration."}
	}
	switch {
	case uri.Scheme == backend.SchemeS3:
		return s3.Open(ctx, uri, j.signIn(p))
	case uri.Path != "":
		return file.New(uri.Path), nil
	}
	return file.New(p.KeyringDir), nil
}

// masterKey opens the master key of a vault.
func (j *job) masterKey(ctx context.Context, p opener.Place) (master.Key, error) {
	uri, err := master.ParseURI(p.Master)
	if err != nil {
		return nil, &opener.Error{Kind: opener.Misconfigured, Message: err.Error(), Next: "Correct `master` in the vault's configuration."}
	}
	if uri.Scheme == master.SchemeAWSKMS {
		return awskms.Open(ctx, uri, j.signIn(p))
	}
	return local.New(p.DeviceDir, j.slab), nil
}

// signIn says how to get AWS credentials. A person is asked for an MFA code only if
// one waits for this job; background jobs use the session kept then.
func (j *job) signIn(p opener.Place) awsauth.Options {
	o := awsauth.Options{Sessions: &sessions{job: j, dir: p.SessionDir, device: j.device(p)}}
	if j.interactive {
		o.MFA = func(ctx context.Context) (string, error) { return j.ask(ctx, "MFA code of your AWS account") }
	}
	return o
}

func (j *job) device(p opener.Place) *device.Device {
	return device.New(p.DeviceDir, j.slab, os.Getenv)
}

func shareContext(vault id.Vault, identity id.Identity) master.Context {
	return master.Context{Vault: vault, Identity: identity, Purpose: master.PurposeUnlock}
}

// fetchAll reads both objects, whatever their versions.
func fetchAll(ctx context.Context, s backend.Store) (backend.Keyring, error) {
	return fetchNewer(ctx, s, "", "")
}

// maxFetches is how often both objects are reread because one changed in between.
const maxFetches = 8

// fetchNewer reads the objects that aren't at the front's versions. A rotation
// between the two reads would return a deks under a KEK that is missing from members,
// so members is checked once more.
func fetchNewer(ctx context.Context, s backend.Store, members, deks backend.Version) (f backend.Keyring, err error) {
	f.MembersVersion, f.DeksVersion = members, deks
	for range maxFetches {
		if _, err := fetchInto(ctx, s, backend.Members, &f.Members, &f.MembersVersion); err != nil {
			return f, err
		}
		changed, err := fetchInto(ctx, s, backend.Deks, &f.Deks, &f.DeksVersion)
		if err != nil || !changed {
			return f, err
		}
		if changed, err = fetchInto(ctx, s, backend.Members, &f.Members, &f.MembersVersion); err != nil || !changed {
			return f, err
		}
	}
	return f, nil // verification will report what doesn't fit
}

// fetchInto reads an object unless it is at version at, and reports whether it changed.
func fetchInto(ctx context.Context, s backend.Store, o backend.Object, into *[]byte, at *backend.Version) (changed bool, err error) {
	data, version, err := getNewer(ctx, s, o, *at)
	if err != nil || data == nil {
		return false, err
	}
	*into, *at = data, version
	return true, nil
}
