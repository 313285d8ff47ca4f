package job

import (
	"context"
	"errors"

	"vigil/internal/backend"
	"vigil/internal/backend/file"
	"vigil/internal/fault"
	"vigil/internal/opener"
)

// fetch reads the objects that the front doesn't have yet.
func (j *job) fetch(ctx context.Context, req *opener.Fetch) (*backend.Keyring, error) {
	s, err := j.store(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	f, err := fetchNewer(ctx, s, req.HaveMembers, req.HaveDeks)
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// getNewer reads an object. It returns no data if the object is at version have.
func getNewer(ctx context.Context, s backend.Store, o backend.Object, have backend.Version) ([]byte, backend.Version, error) {
	data, version, err := s.Get(ctx, o, have)
	if errors.Is(err, fault.ErrNotModified) {
		return nil, have, nil
	}
	return data, version, err
}

// put replaces an object if it is at the expected version.
func (j *job) put(ctx context.Context, req *opener.Put) (*opener.Stored, error) {
	s, err := j.store(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	version, err := s.Put(ctx, req.Object, req.Data, req.Expect)
	if err != nil {
		return nil, err
	}
	if f, ok := s.(*file.Store); ok && req.DropPrevious {
		if err := f.DropPrevious(ctx, req.Object); err != nil {
			return nil, err
		}
	}
	return &opener.Stored{Version: version}, nil
}
