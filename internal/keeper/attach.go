package keeper

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/id"
	"vigil/internal/ring"
	"vigil/internal/unixsock"
	"vigil/internal/wire"
)

// draft is a private key that an opener handed over and that isn't sealed yet.
// It's in SSH_AGENTC_ADD_IDENTITY's encoding.
type draft struct {
	encoding *guard.Buffer
	typ      string
	public   []byte
}

// maxDrafts bounds keys that wait to be sealed: the front seals each at once.
const maxDrafts = 16

// fdConn is a raw descriptor as a stream.
type fdConn int

func (fd fdConn) Read(b []byte) (int, error)  { return readAtLeast(int(fd), b, 1) }
func (fd fdConn) Write(b []byte) (int, error) { return len(b), writeFull(int(fd), b) }

// attach receives the end of a socketpair from the front, and from the opener
// at its other end what the kind says.
func (w *worker) attach(r *wire.Reader, out []byte) ([]byte, error) {
	kind := attachKind(r.Byte())
	if err := r.End(); err != nil {
		return out, ErrBadRequest
	}
	fd, err := w.receiveFD()
	if err != nil {
		return out, fmt.Errorf("%w: receive descriptor: %w", ErrBadRequest, err)
	}
	defer unix.Close(fd)
	switch kind {
	case attachIdentity:
		identity, err := w.server.takeIdentity(fdConn(fd))
		if err != nil {
			return out, err
		}
		return append(out, identity[:]...), nil
	case attachKeys:
		number, d, err := w.server.takeDraft(fdConn(fd))
		if err != nil {
			return out, err
		}
		out = wire.AppendUint64(out, number)
		out = wire.AppendString(out, d.typ)
		return wire.AppendString(out, d.public), nil
	}
	return out, fmt.Errorf("%w: attach of kind %d", ErrBadRequest, kind)
}

// receiveFD tells the front that the next byte may come with a descriptor: a
// plain read before this point would have lost it.
func (w *worker) receiveFD() (int, error) {
	if err := writeFull(w.fd, []byte{0, 0, 0, 1, byte(statusOK)}); err != nil {
		return -1, err
	}
	var one [1]byte
	_, fds, err := unixsock.RecvFDs(w.fd, one[:], 1)
	if err != nil {
		return -1, err
	}
	if len(fds) != 1 {
		return -1, errors.New("none came")
	}
	return fds[0], nil
}

// takeIdentity receives the private halves that open this vault's KEKs.
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

// takeSeeds makes the vault of an identity, or gives the one there is the
// identity's new private halves: its keys go on signing.
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

// takeDraft receives one private key, checks that its halves belong together
// and keeps it until it is sealed.
func (s *server) takeDraft(conn fdConn) (number uint64, d *draft, err error) {
	encoding, err := handover.ReceiveKey(conn, s.vaultID, s.alloc)
	if err != nil {
		return 0, nil, err
	}
	number, d, err = s.addDraft(encoding)
	if err != nil {
		encoding.Free()
	}
	if tellErr := handover.Verdict(conn, err); err == nil {
		err = tellErr
	}
	return number, d, err
}

func (s *server) addDraft(encoding *guard.Buffer) (uint64, *draft, error) {
	key, rest, err := s.parseKey(encoding.Bytes())
	if err != nil {
		return 0, nil, err
	}
	d := &draft{encoding: encoding, typ: key.Type(), public: key.PlainPublic()}
	key.Free()
	if len(rest) != 0 {
		return 0, nil, fmt.Errorf("%w: bytes after the key", ErrBadRequest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.drafts) >= maxDrafts {
		return 0, nil, fmt.Errorf("%w: %d keys wait to be sealed", ErrRefused, len(s.drafts))
	}
	s.lastDraft++
	s.drafts[s.lastDraft] = d
	return s.lastDraft, d, nil
}
