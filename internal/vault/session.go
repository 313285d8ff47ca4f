package vault

import (
	"context"

	"vigil/internal/opener"
)

// session is an opener that reads and writes the keyring, for one change. It
// starts while something else is done.
type session struct {
	started chan struct{} // closed when there is one, or none
	opener  *opener.Client
	err     error
}

// startSession starts one. It is closed by its end.
func (v *Vault) startSession(ctx context.Context, o *openVault) *session {
	s := &session{started: make(chan struct{})}
	go func() {
		defer close(s.started)
		s.opener, s.err = opener.Start(ctx, v.d.Opener, o.id)
	}()
	return s
}

// client waits until it has started.
func (s *session) client() (*opener.Client, error) {
	<-s.started
	return s.opener, s.err
}

func (s *session) end() {
	if c, err := s.client(); err == nil {
		c.Close()
	}
}
