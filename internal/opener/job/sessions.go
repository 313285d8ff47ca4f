package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"vigil/internal/device"
	"vigil/internal/durable"
	"vigil/internal/envelope"
)

const (
	// labelSession begins the context of a kept AWS session. It is local to a device
	// and isn't part of the vault format.
	labelSession = "vigil device aws session"
	// maxSession bounds a kept session, in bytes; a token has about 1 KiB.
	maxSession = 16 << 10
)

// sessions keeps AWS sessions that needed an MFA code, sealed under the device key,
// one file each. It implements awsauth.Sessions.
type sessions struct {
	job    *job
	dir    string
	device *device.Device
}

func (s *sessions) path(name string) string { return filepath.Join(s.dir, filepath.Base(name)) }

// Load returns a kept session, or nil.
func (s *sessions) Load(name string) ([]byte, error) {
	sealed, err := durable.ReadFile(s.path(name), maxSession)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read kept AWS session: %w", err)
	}
	session := make([]byte, envelope.OpenSize(sealed))
	c := envelope.NewContext(labelSession, []byte(name))
	if err := s.device.Open(context.Background(), session, c, sealed); err != nil {
		return nil, fmt.Errorf("open kept AWS session: %w", err)
	}
	return session, nil
}

// Save keeps a session, which includes its expiry.
func (s *sessions) Save(name string, session []byte, _ time.Time) error {
	sealed, _, err := s.device.Seal(context.Background(), envelope.NewContext(labelSession, []byte(name)), session)
	if err != nil {
		return fmt.Errorf("keep AWS session: %w", err)
	}
	if err := durable.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return durable.Replace(s.path(name), sealed, durable.Options{Mode: 0o600})
}
