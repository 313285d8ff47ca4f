package unixsock

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"vigil/internal/paths"
)

// Bind serves a new socket at path with mode 0600, as `ssh-agent -a PATH` does: in
// any folder, and without a lock file. If anything exists at path, even a dead
// socket, it is left alone and the error wraps EADDRINUSE. A path that is too long is
// a *paths.SocketPathError.
func Bind(path string) (*Listener, error) {
	if err := paths.CheckSocket(path); err != nil {
		return nil, err
	}
	l, err := bindNew(path)
	if err != nil {
		return nil, err
	}
	b, err := owned(l, path)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	return b, nil
}

// Inherit serves the socket that the parent process bound at path, from the
// descriptor fd, which it takes ownership of. Close removes the socket.
func Inherit(fd int, path string) (*Listener, error) {
	unix.CloseOnExec(fd)
	a, err := adopt(fd, "")
	if err != nil {
		return nil, err
	}
	l, err := owned(a.l, path)
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("inherit socket %q: %w", path, err)
	}
	return l, nil
}

// owned returns a listener whose Close removes the socket at path, even if the
// working directory changes.
func owned(l *net.UnixListener, path string) (*Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	made, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return &Listener{l: l, path: path, made: made, closed: make(chan struct{})}, nil
}

// File returns a duplicate of the listening socket, for a process to inherit.
// The caller closes it.
func (l *Listener) File() (*os.File, error) { return l.l.File() }

// maxInherited is the highest descriptor that is marked if the system can't mark all
// at once; shells use low ones.
const maxInherited = 1024

func closeLowOnExec() {
	for fd := firstFD; fd < maxInherited; fd++ {
		unix.CloseOnExec(fd)
	}
}
