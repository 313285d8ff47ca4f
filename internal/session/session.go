// Package session knows the terminal sessions in which a person can be asked. A session
// is what a shell leads on a terminal: a login over ssh, a pane of tmux, a window of a
// terminal emulator. Its shell's start-up file registers it (`vigilctl env --hook`).
//
// Of a client, only its process number is taken, which the kernel gave. Session, leader
// and terminal are what the kernel says of that process, and are looked up again at each
// use: a session that has ended is none, and whatever else has its terminal's number
// isn't it.
package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxSessions bounds the registered sessions. It is more than people open, and each takes
// some hundred bytes.
const maxSessions = 256

// maxTerm is the longest name of a kind of terminal, in bytes.
const maxTerm = 64

// ID names a session for ever: the number of its leader may be given to another process.
type ID struct {
	Leader int    `json:"leader"`
	Start  string `json:"start"` // when the leader started, in the kernel's ticks since boot
}

// Process is what the kernel says of a process.
type Process struct {
	Session    int // the number of its session's leader
	Group      int
	TTY        uint64 // its controlling terminal, as a device number; 0: none
	Foreground int    // the group that has that terminal
	Start      string // in ticks since boot
}

// ID returns the name of the process's session, or the zero ID if its leader has ended.
func (p Process) ID() ID {
	leader, ok := Look(p.Session)
	if !ok {
		return ID{}
	}
	return ID{p.Session, leader.Start}
}

// Session is a registered session.
type Session struct {
	ID
	TTY  uint64
	Path string // of the terminal
	Term string // what the client says of the kind of terminal
	Time time.Time

	asked chan struct{} // holds a token while someone is asked there
}

// Take waits until nobody else is asked on the session's terminal: two prompts would share
// what is typed. The caller calls Give afterwards.
func (s *Session) Take(ctx context.Context) error {
	select {
	case s.asked <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Give ends what Take began.
func (s *Session) Give() { <-s.asked }

// alive reports whether its leader still leads it, on the same terminal.
func (s *Session) alive() bool {
	p, ok := Look(s.Leader)
	return ok && p.Start == s.Start && p.Session == s.Leader && p.TTY == s.TTY
}

// Foreground returns the process group that has the terminal; 0: the session has ended.
func (s *Session) Foreground() int {
	p, ok := Look(s.Leader)
	if !ok || p.Start != s.Start || p.TTY != s.TTY {
		return 0
	}
	return p.Foreground
}

// Registry is the registered sessions. The zero value has none.
type Registry struct {
	mu       sync.Mutex
	sessions []*Session // oldest first
}

// Why a session isn't registered.
var (
	ErrNoTerminal = errors.New("the process has no controlling terminal")
	errFull       = fmt.Errorf("%d sessions are registered, the most that are", maxSessions)
	errTerm       = errors.New("TERM isn't the name of a kind of terminal")
)

// Register registers the session of a process, again if it was.
func (r *Registry) Register(pid int, term string) (*Session, error) {
	if !validTerm(term) {
		return nil, errTerm
	}
	s, err := of(pid)
	if err != nil {
		return nil, err
	}
	s.Term, s.Time, s.asked = term, time.Now(), make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = slices.DeleteFunc(r.sessions, func(o *Session) bool {
		if o.ID == s.ID {
			s.asked = o.asked
		}
		return o.ID == s.ID
	})
	if len(r.sessions) >= maxSessions {
		r.drop()
	}
	if len(r.sessions) >= maxSessions {
		return nil, errFull
	}
	r.sessions = append(r.sessions, s)
	return s, nil
}

// drop forgets the sessions that have ended. The caller holds mu.
func (r *Registry) drop() {
	r.sessions = slices.DeleteFunc(r.sessions, func(s *Session) bool { return !s.alive() })
}

// All returns the sessions that haven't ended, the newest first.
func (r *Registry) All() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	all := slices.Clone(r.sessions)
	slices.Reverse(all)
	return all
}

// Find returns the registered session called id, or nil if there is none or it has ended.
func (r *Registry) Find(id ID) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.sessions, func(s *Session) bool { return s.ID == id })
	if i < 0 || !r.sessions[i].alive() {
		return nil
	}
	return r.sessions[i]
}

// of returns the session of a process, by the kernel.
func of(pid int) (*Session, error) {
	p, ok := Look(pid)
	if !ok || p.TTY == 0 {
		return nil, ErrNoTerminal
	}
	s := &Session{ID: p.ID(), TTY: p.TTY}
	if !s.alive() {
		return nil, errors.New("the leader of the process's session has ended")
	}
	var err error
	s.Path, err = pathOf(p.TTY)
	return s, err
}

// pathOf returns the path of a terminal of this user's, by its device number: those of
// /dev/pts, consoles and serial lines (Linux's Documentation/admin-guide/devices.txt).
func pathOf(tty uint64) (string, error) {
	major, minor := unix.Major(tty), unix.Minor(tty)
	path := ""
	switch {
	case major >= 136 && major <= 143:
		path = fmt.Sprintf("/dev/pts/%d", (major-136)<<8|minor)
	case major == 4 && minor > 0 && minor < 64:
		path = fmt.Sprintf("/dev/tty%d", minor)
	case major == 4 && minor >= 64:
		path = fmt.Sprintf("/dev/ttyS%d", minor-64)
	default:
		return "", fmt.Errorf("the terminal with device number %d:%d is of no known kind", major, minor)
	}
	var info unix.Stat_t
	if err := unix.Lstat(path, &info); err != nil {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	if info.Mode&unix.S_IFMT != unix.S_IFCHR || uint64(info.Rdev) != tty || int(info.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s isn't that terminal, or not this user's", path)
	}
	return path, nil
}

// validTerm reports whether a text could name a kind of terminal: [A-Za-z0-9.+-]{1,64}.
func validTerm(term string) bool {
	if term == "" || len(term) > maxTerm {
		return false
	}
	for _, c := range []byte(term) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' {
			return false
		}
	}
	return true
}
