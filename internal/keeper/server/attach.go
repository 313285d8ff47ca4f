package server

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/ring"
	"vigil/internal/unixsock"
)

// attach receives one end of a socketpair from the front, and what the kind says from
// the opener at the other end.
func (w *worker) attach(body, out []byte) ([]byte, error) {
	kind, err := keeper.ReadAttachKind(body)
	if err != nil {
		return out, err
	}
	fds, err := w.receiveFDs(1)
	if err != nil {
		return out, fmt.Errorf("%w: receive descriptor: %w", keeper.ErrBadRequest, err)
	}
	fd := fds[0]
	defer unix.Close(fd)
	switch kind {
	case keeper.AttachIdentity:
		identity, err := w.server.takeIdentity(fdConn(fd))
		if err != nil {
			return out, err
		}
		return keeper.Identity(identity).Append(out), nil
	case keeper.AttachKey:
		d, err := w.server.takeDraft(fdConn(fd))
		if err != nil {
			return out, err
		}
		return d.Append(out), nil
	}
	return out, fmt.Errorf("%w: attach of kind %d", keeper.ErrBadRequest, kind)
}

// receiveFDs tells the front to send the descriptors, of which there may be 1 to most: an
// earlier plain read would lose them.
func (w *worker) receiveFDs(most int) ([]int, error) {
	if err := w.reply(w.header(), nil); err != nil {
		return nil, err
	}
	var one [1]byte
	_, fds, err := unixsock.RecvFDs(w.fd, one[:], most)
	if err == nil && len(fds) == 0 {
		err = errors.New("none came")
	}
	return fds, err
}

// takeIdentity receives the private keys that open this vault's KEKs.
func (s *server) takeIdentity(conn fdConn) (id.Identity, error) {
	identity, seeds, err := handover.ReceiveIdentity(conn, s.vaultID, s.alloc)
	if err != nil {
		return identity, err
	}
	err = s.takeSeeds(identity, seeds)
	if tellErr := handover.Verdict(conn, err); err == nil {
		err = tellErr
	}
	return identity, err
}

// takeSeeds makes the vault of an identity, or gives the existing one the identity's
// new private keys. The vault keeps signing meanwhile.
func (s *server) takeSeeds(identity id.Identity, seeds *guard.Buffer) error {
	r, err := ring.New(s.vaultID, identity, seeds, s.alloc)
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.vault
	if old == nil || old.identity != identity {
		s.vault = newVault(s, identity, r)
	}
	s.mu.Unlock()
	if old != nil && old.identity == identity {
		old.rekey(r)
		return nil
	}
	old.close()
	return nil
}
