package ask

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/session"
	"vigil/internal/unixsock"
)

const (
	// maxStandbys bounds the `vigilctl ask`s that wait.
	maxStandbys = 16
	// callTimeout bounds the time to tell one of a request.
	callTimeout = time.Second
)

// Standby is a `vigilctl ask`: a person who waits for requests at a terminal. For each
// prompt it is passed a connection of its own, on which it is an asker. Anyone who may use
// the control socket can pose as one. It is asked for passphrases, as whoever doesn't know
// one gains nothing, and to allow something only after the passphrase of that vault was
// typed at it: see [Place.answersFor].
type Standby struct {
	number int
	pid    int
	caller Caller // when it began
	conn   *net.UnixConn
}

// Standbys are those who wait. The zero value is nobody.
type Standbys struct {
	mu      sync.Mutex
	waiting []*Standby // oldest first
	last    int        // the number of the newest
}

var (
	errNoStandby    = errors.New("no `vigilctl ask` waits")
	errBackground   = errors.New("the `vigilctl ask` that waits isn't in its terminal's foreground")
	errManyStandbys = fmt.Errorf("%d wait already, the most that may", maxStandbys)
)

// Add adds the process pid, which holds the other end of a socket. The caller closes the
// file.
func (w *Standbys) Add(pid int, socket *os.File) error {
	fd, err := unix.FcntlInt(socket.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	conn, err := unixsock.Conn(fd)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop()
	if len(w.waiting) >= maxStandbys {
		_ = conn.Close()
		return errManyStandbys
	}
	w.last++
	w.waiting = append(w.waiting, &Standby{number: w.last, pid: pid, caller: CallerOf(pid), conn: conn})
	return nil
}

// drop forgets those who have gone. The caller holds mu.
func (w *Standbys) drop() {
	w.waiting = slices.DeleteFunc(w.waiting, func(s *Standby) bool {
		gone := unixsock.HungUp(s.conn)
		if gone {
			_ = s.conn.Close()
		}
		return gone
	})
}

// Len returns how many wait.
func (w *Standbys) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop()
	return len(w.waiting)
}

// newest returns the newest that has its terminal for itself: nobody reads what one shows
// that was put into the background.
func (w *Standbys) newest() (*Standby, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop()
	if len(w.waiting) == 0 {
		return nil, errNoStandby
	}
	for _, s := range slices.Backward(w.waiting) {
		if now := CallerOf(s.pid); now.front == s.caller.front && now.tty == s.caller.tty {
			return s, nil
		}
	}
	return nil, errBackground
}

// witnesses returns where a passphrase is typed that comes from it.
func (s *Standby) witnesses() []Witness {
	all := []Witness{{Standby: s.number}}
	if s.caller.session != (session.ID{}) {
		all = append(all, Witness{Session: s.caller.session})
	}
	return all
}

// call has it show a prompt, and returns the conversation, as of an asker's process. end
// tells it how that went, and waits until it has no passphrase any more.
func (s *Standby) call(ctx context.Context, patience time.Duration) (conn *net.UnixConn, end func(error), err error) {
	conn, theirs, err := ipc.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = s.conn.SetWriteDeadline(time.Now().Add(callTimeout))
	err = unixsock.SendFDsConn(s.conn, []byte{0}, int(theirs.Fd()))
	_ = theirs.Close() // or its end wouldn't be seen
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience)) // it may be showing another
		err = ipc.Greet(conn, ipc.Front, ipc.Asker, id.Vault{})
		_ = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("talk to `vigilctl ask` (process %d): %w", s.pid, err)
	}
	return conn, func(err error) {
		over := "It is unlocked." // of a passphrase: who has answered a question waits for nothing
		if err != nil {
			over = "Closed: " + err.Error() + "."
		}
		_ = conn.SetDeadline(time.Now().Add(endTimeout))
		_ = Send(conn, &Verdict{Over: over}, nil)
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}, nil
}
