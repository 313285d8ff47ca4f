package unixsock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// firstFD is SD_LISTEN_FDS_START of sd_listen_fds(3).
	firstFD = 3
	// MaxActivated is how many sockets are accepted from a service manager.
	MaxActivated = 16
)

// ErrActivation reports sockets from a service manager that can't be served.
var ErrActivation = errors.New("socket activation")

// Activated returns the sockets that a service manager passed to the process pid, the
// caller's own, in its environment (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES;
// sd_listen_fds(3)). It is not an error if there are none. Each must be a listening
// unix stream socket. It takes ownership of the descriptors and makes them
// close-on-exec, so call it once, before opening other files. The caller removes the
// variables from its children's environment.
func Activated(environ []string, pid int) ([]*Listener, error) {
	env := make(map[string]string)
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, "LISTEN_") {
			env[name] = value
		}
	}
	if env["LISTEN_FDS"] == "" || env["LISTEN_PID"] != strconv.Itoa(pid) {
		return nil, nil // meant for another process, such as the parent
	}
	n, err := strconv.Atoi(env["LISTEN_FDS"])
	if err != nil || n < 0 || n > MaxActivated {
		return nil, fmt.Errorf("%w: LISTEN_FDS isn't a number up to %d", ErrActivation, MaxActivated)
	}
	names := strings.Split(env["LISTEN_FDNAMES"], ":")
	if env["LISTEN_FDNAMES"] == "" {
		names = make([]string, n)
	}
	if len(names) != n {
		return nil, fmt.Errorf("%w: %d names for %d sockets", ErrActivation, len(names), n)
	}
	for i := range n {
		unix.CloseOnExec(firstFD + i)
	}
	var list []*Listener
	for i, name := range names {
		l, err := adopt(firstFD+i, name)
		if err != nil {
			for _, l := range list {
				l.Close()
			}
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// adopt returns a Listener for a descriptor, which it takes ownership of.
func adopt(fd int, name string) (*Listener, error) {
	f := os.NewFile(uintptr(fd), "activated")
	defer f.Close() // FileListener works on a duplicate
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
		return nil, fmt.Errorf("%w: descriptor %d isn't a listening socket", ErrActivation, fd)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("%w: descriptor %d: %w", ErrActivation, fd, err)
	}
	// Listening again makes SO_PEERCRED name this process, not the manager, to
	// clients that connect from now on.
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		l.Close()
		return nil, fmt.Errorf("%w: listen on descriptor %d: %w", ErrActivation, fd, err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok || ul.Addr().Network() != "unix" {
		l.Close()
		return nil, fmt.Errorf("%w: descriptor %d isn't a unix stream socket", ErrActivation, fd)
	}
	return &Listener{l: ul, path: ul.Addr().String(), name: name, closed: make(chan struct{})}, nil
}
