// Package serving keeps one daemon to each state folder, and says where its sockets are:
// XDG_RUNTIME_DIR, which chooses them, may be set in one shell and not in another.
//
// The daemon holds a lock (flock) on daemon.lock in the state folder as long as it runs,
// and notes in it where it serves. What a daemon that was killed leaves there means
// nothing.
package serving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"vigil/internal/durable"
)

const lockName = "daemon.lock"

// patience is how long to wait for a held lock: a child that a killed daemon was
// starting holds it for a moment, and so does Find.
const patience = 500 * time.Millisecond

// Place is where a daemon serves.
type Place struct {
	Runtime string `json:"runtime"` // folder of agent.sock and control.sock; "": a service manager chose other paths
	PID     int    `json:"pid"`
	Host    string `json:"host"` // a state folder may be on a network file system
}

// TakenError reports that another daemon serves the state folder.
type TakenError struct {
	State string
	Place Place // zero if the daemon hasn't said where it serves
}

func (e *TakenError) Error() string {
	text := fmt.Sprintf("vigild runs already for %q", e.State)
	if e.Place.PID == 0 {
		return text
	}
	text += fmt.Sprintf(" (pid %d", e.Place.PID)
	if host, err := os.Hostname(); err == nil && host != e.Place.Host {
		return text + fmt.Sprintf(" of the machine %q): set XDG_STATE_HOME to a folder of this machine", e.Place.Host)
	}
	text += ")"
	if e.Place.Runtime != "" {
		text += fmt.Sprintf(", with its sockets in %q", e.Place.Runtime)
	}
	return text + ": `vigilctl env` and all its other commands find it, and `vigilctl down` stops it"
}

// Claim is a state folder that this process serves.
type Claim struct{ lock *durable.Lock }

// Take claims a state folder, which it makes if it's missing. If another daemon has it,
// the error is a *TakenError.
func Take(ctx context.Context, state string) (*Claim, error) {
	if err := durable.MkdirAll(state, 0o700); err != nil {
		return nil, fmt.Errorf("claim state folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lock, err := durable.AcquireLock(ctx, filepath.Join(state, lockName))
	if errors.Is(err, durable.ErrLocked) {
		place, _ := holder(state)
		return nil, &TakenError{State: state, Place: place}
	}
	if err != nil {
		return nil, fmt.Errorf("claim state folder: %w", err)
	}
	return &Claim{lock}, nil
}

// Announce says where the daemon serves; runtime is Place.Runtime.
func (c *Claim) Announce(runtime string) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("announce sockets: %w", err)
	}
	note, err := json.Marshal(Place{Runtime: runtime, PID: os.Getpid(), Host: host})
	if err != nil {
		return fmt.Errorf("announce sockets: %w", err)
	}
	if err := c.lock.Note(note); err != nil {
		return fmt.Errorf("announce sockets: %w", err)
	}
	return nil
}

// Close ends the claim.
func (c *Claim) Close() error { return c.lock.Release() }

// Find returns where a state folder's daemon serves. It reports false if none runs, or
// runs on another machine, or hasn't said where.
func Find(state string) (Place, bool) {
	place, ok := holder(state)
	host, err := os.Hostname()
	if !ok || err != nil || place.Host != host || !filepath.IsAbs(place.Runtime) {
		return Place{}, false
	}
	return place, true
}

// holder returns what the state folder's daemon noted.
func holder(state string) (place Place, ok bool) {
	note, held := durable.Holder(filepath.Join(state, lockName))
	if !held || json.Unmarshal(note, &place) != nil {
		return Place{}, false
	}
	return place, true
}
