package unixsock

import (
	"fmt"
	"net"
	"os"
	"strings"
	"unicode"
)

// Peer is who made a connection, as the kernel noted it at connect time.
type Peer struct {
	PID int // 0 when the peer is in a pid namespace that can't be seen from here
	UID uint32
	GID uint32
}

// ForeignPeerError reports a peer of another user.
type ForeignPeerError struct{ Peer Peer }

func (e *ForeignPeerError) Error() string {
	return fmt.Sprintf("refuse process %d of uid %d: only uid %d and root may connect", e.Peer.PID, e.Peer.UID, os.Geteuid())
}

// PeerOf asks the kernel who is at the other end of c.
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

// Check returns a *ForeignPeerError unless the peer is the process's own user
// or root, as OpenSSH's ssh-agent decides.
func (p Peer) Check() error {
	if p.UID != 0 && int(p.UID) != os.Geteuid() {
		return &ForeignPeerError{Peer: p}
	}
	return nil
}

// Process describes a running program for people to read. A process can choose
// its name and can be gone, and its number reused, before it is described: so
// it is shown, and no decision rests on it.
type Process struct {
	PID  int
	Name string // short name, as ps shows it
	Exe  string // path of the program; "" when the system doesn't tell
}

// String is the program's path, or its name, and the process's number.
func (p Process) String() string {
	what := p.Exe
	if what == "" {
		what = p.Name
	}
	if what == "" {
		what = "unknown program"
	}
	return fmt.Sprintf("%s (%d)", what, p.PID)
}

const (
	// MaxAncestry is how many processes Ancestry follows.
	MaxAncestry = 16
	// maxShown limits the text of a name or path, in characters.
	maxShown = 256
)

// Ancestry describes the process pid, then its parent, and so on: up to the
// first process of the system, which isn't listed, or as far as can be seen.
func Ancestry(pid int) []Process {
	var list []Process
	for pid > 1 && len(list) < MaxAncestry {
		p, parent, err := describe(pid)
		if err != nil {
			break
		}
		list = append(list, p)
		pid = parent
	}
	return list
}

// shown makes text that a process chose fit to be printed: one line, no control
// or formatting characters, limited.
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
