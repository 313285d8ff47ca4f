// Package unixsock listens on unix(7) sockets that only their user and root can
// reach, identifies peers, and passes descriptors.
//
// A socket path is served by one process at a time. The process that holds an
// flock(2) on PATH.lock may bind PATH, remove a dead daemon's socket there and, at the
// end, remove both files. So daemons that start at the same time can't replace each
// other's socket, and a socket without a lock holder or a listener is stale.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/paths"
)

// ErrServing reports a socket that another process already serves.
var ErrServing = errors.New("another process is serving this socket: use it, or stop it first (vigilctl down)")

// ErrUnsafe reports a folder or file that lets another user replace this socket. The
// wrapping error says which, and why.
var ErrUnsafe = errors.New("not safe for a socket")

// ErrClosed is what Accept returns after Close.
var ErrClosed = net.ErrClosed

const (
	// socketMode and folderMode are the modes of the socket and of new folders.
	socketMode = 0o600
	folderMode = 0o700
	// acceptPause and acceptPauseMax bound the wait after an accept that failed
	// for lack of descriptors or memory: it doubles from one to the other, so the
	// daemon neither ends nor spins.
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second
	// lockPatience is how long to wait for a held lock, and lockRetry the time
	// between tries: children of a killed process that are between fork and exec
	// hold its lock for a moment.
	lockPatience = 500 * time.Millisecond
	lockRetry    = 5 * time.Millisecond
)

// Options configure where a socket may be.
type Options struct {
	// AnyFolder accepts any existing folder, even a shared one such as /tmp, as
	// `ssh-agent -a PATH` does. Otherwise a missing folder is created, and it must
	// be the user's own, closed to others, below folders that others can't change.
	AnyFolder bool
}

// Listener accepts connections from its own user and root.
type Listener struct {
	l    *net.UnixListener
	path string
	name string      // from LISTEN_FDNAMES
	lock *os.File    // PATH.lock, or nil
	made fs.FileInfo // the socket that Close removes; nil if activated

	closed chan struct{}
	once   sync.Once
	err    error
}

// Listen serves a new socket at path with mode 0600. It replaces a dead socket; for a
// live one the error wraps ErrServing. It refuses anything else at path and leaves it
// alone. For folders that others can write in, that are symbolic links or belong to
// another user, the error wraps ErrUnsafe; for a path that is too long it is a
// *paths.SocketPathError.
func Listen(path string, opts Options) (*Listener, error) {
	if err := paths.CheckSocket(path); err != nil {
		return nil, err
	}
	if !opts.AnyFolder {
		if err := OwnFolder(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("listen on %q: %w", path, err)
		}
	}
	lock, err := takeLock(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	l, err := bind(path)
	if err != nil {
		releaseLock(lock)
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	made, err := os.Lstat(path)
	if err != nil {
		l.Close()
		releaseLock(lock)
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	return &Listener{l: l, path: path, lock: lock, made: made, closed: make(chan struct{})}, nil
}

// Path returns the socket's path as it was passed in.
func (l *Listener) Path() string { return l.path }

// Name returns the socket's name in LISTEN_FDNAMES, or "".
func (l *Listener) Name() string { return l.name }

// Activated reports whether the service manager owns the socket.
func (l *Listener) Activated() bool { return l.made == nil }

// Accept waits for a connection. It closes a connection from another user and returns
// a *ForeignPeerError; the caller goes on accepting. While descriptors or memory are
// short it waits and tries again. After Close it returns ErrClosed; any other error
// means that the socket is dead.
func (l *Listener) Accept() (*net.UnixConn, Peer, error) {
	wait := acceptPause
	for {
		conn, err := l.l.AcceptUnix()
		if err != nil {
			if !short(err) {
				return nil, Peer{}, err
			}
			if !l.pause(wait) {
				return nil, Peer{}, ErrClosed
			}
			wait = min(2*wait, acceptPauseMax)
			continue
		}
		peer, err := PeerOf(conn)
		if err == nil {
			err = peer.Check()
		}
		if err != nil {
			conn.Close()
			var foreign *ForeignPeerError
			if !errors.As(err, &foreign) {
				continue // the peer hung up before it could be identified
			}
			return nil, peer, err
		}
		return conn, peer, nil
	}
}

// pause waits, and returns false if the listener was closed in the meantime.
func (l *Listener) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.closed:
		return false
	case <-timer.C:
		return true
	}
}

// short reports whether an accept failed for a temporary lack of resources, or because
// the connection was aborted.
func short(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Close stops accepting, and removes the socket and its lock file unless the service
// manager owns them or another process has replaced them. It doesn't close
// connections. It may be called more than once.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		if l.made != nil {
			if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.made) {
				_ = os.Remove(l.path)
			}
		}
		l.err = l.l.Close()
		if l.lock != nil {
			releaseLock(l.lock)
		}
	})
	return l.err
}

// takeLock takes the lock file at path, or fails with ErrServing. A holder may remove
// the file, so takeLock checks that the locked file is still at path.
func takeLock(path string) (*os.File, error) {
	const tries = 100
	patience := time.Now().Add(lockPatience)
	for n := 0; n < tries; {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, socketMode)
		if errors.Is(err, syscall.ELOOP) {
			return nil, fmt.Errorf("lock file %q is a symbolic link: %w", path, ErrUnsafe)
		}
		if err != nil {
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if !mine.Mode().IsRegular() || owner(mine) != os.Geteuid() {
			f.Close()
			return nil, fmt.Errorf("lock file %q belongs to uid %d: %w", path, owner(mine), ErrUnsafe)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			if time.Now().After(patience) {
				return nil, ErrServing
			}
			time.Sleep(lockRetry)
			continue
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %q: %w", path, err)
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
		n++
	}
	return nil, fmt.Errorf("lock %q: replaced each time", path)
}

// releaseLock removes a held lock file and then releases the lock: a process that
// opened the file before finds another one at its path and tries again.
func releaseLock(f *os.File) {
	_ = os.Remove(f.Name())
	f.Close()
}

// bind makes the socket, and replaces a dead one. The caller holds the lock.
func bind(path string) (*net.UnixListener, error) {
	if err := clearStale(path); err != nil {
		return nil, err
	}
	return bindNew(path)
}

// bindNew makes the socket. It fails if anything exists at path.
func bindNew(path string) (*net.UnixListener, error) {
	var lc net.ListenConfig
	// On Linux a bound socket gets the descriptor's mode, less the umask, so there is
	// no moment at which others could connect.
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), socketMode) })
	}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false) // Close removes it, if it is still ours
	if err := os.Chmod(path, socketMode); err != nil {
		_ = os.Remove(path)
		ul.Close()
		return nil, err
	}
	return ul, nil
}

// clearStale removes a socket at path without a listener.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("a file that is not a socket is in the way, and was left there: %w", ErrUnsafe)
	}
	if owner(info) != os.Geteuid() {
		return fmt.Errorf("the socket there belongs to uid %d: %w", owner(info), ErrUnsafe)
	}
	alive, err := Answers(path)
	if err != nil {
		return err
	}
	if alive {
		return ErrServing
	}
	return os.Remove(path)
}

// Answers reports whether a process listens at path, even if its backlog is full. It
// doesn't wait: connecting to a unix socket succeeds or fails at once.
func Answers(path string) (bool, error) {
	fd, err := socket()
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return false, err
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	switch {
	case err == nil, errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINPROGRESS):
		return true, nil
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return false, nil
	}
	return false, fmt.Errorf("ask who serves it: %w", err)
}
