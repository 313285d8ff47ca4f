package unixsock

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strings"
	"unicode"
)

// Peer is the process that made a connection, as recorded by the kernel at connect.
type Peer struct {
	PID int // 0 if the peer is in a pid namespace that isn't visible from here
	UID uint32
	GID uint32
}

// ForeignPeerError reports a peer of another user.
type ForeignPeerError struct{ Peer Peer }

func (e *ForeignPeerError) Error() string {
	return fmt.Sprintf("refuse process %d of uid %d: only uid %d and root may connect", e.Peer.PID, e.Peer.UID, os.Geteuid())
}

// PeerOf asks the kernel for the peer of c.
func PeerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	var perr error
	if err := raw.Control(func(fd uintptr) { p, perr = PeerOfFD(int(fd)) }); err != nil {
		return Peer{}, err
	}
	return p, perr
}

// Check returns a *ForeignPeerError unless the peer is the process's own user or root,
// like OpenSSH's ssh-agent.
func (p Peer) Check() error {
	if p.UID != 0 && int(p.UID) != os.Geteuid() {
		return &ForeignPeerError{Peer: p}
	}
	return nil
}

// Process describes a running program for people to read. A process can choose its
// name, and can end and its number be reused before it is described, so no decision
// may depend on it.
type Process struct {
	PID  int
	Name string // short name, as ps shows it
	Exe  string // path of the program; "" if unknown
}

// Program returns the program's path or, if that is unknown, its name.
func (p Process) Program() string { return cmp.Or(p.Exe, p.Name) }

// String returns the program and the process's number.
func (p Process) String() string {
	return fmt.Sprintf("%s (%d)", cmp.Or(p.Program(), "unknown program"), p.PID)
}

// maxShown limits the text of a name or path, in characters.
const maxShown = 256

// shown makes text that a process chose fit to print: one line without control or
// formatting characters, of limited length.
func shown(text string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		n++
		switch {
		case n > maxShown:
			return -1
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
}
