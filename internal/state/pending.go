package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vigil/internal/durable"
	"vigil/internal/id"
)

// MaxPending is the most changes that may wait for the backend: enough for an
// import while travelling, and few enough to read at every start.
const MaxPending = 10_000

// ErrTooManyPending reports that there are MaxPending changes already.
var ErrTooManyPending = errors.New("too many changes wait for the backend")

// Pending is a change that this device has saved and the backend hasn't: a new
// revision with its wrapped DEK, or with Remove the removal of an item.
type Pending struct {
	Item     id.Item       `json:"item"`
	Revision id.Revision   `json:"revision"` // zero for a removal
	Parents  []id.Revision `json:"parents,omitempty"`
	Remove   bool          `json:"remove,omitempty"`
	Tightens bool          `json:"tightens,omitempty"`
	// Wrapped is the DEK wrapped by the identity's own key, bound to the above.
	Wrapped []byte `json:"wrapped,omitempty"`
	// Line is the revision's line of the vault file, without line feed.
	Line []byte `json:"line,omitempty"`
	// Consent is the identity's consent to a removal, without which no keeper makes it.
	Consent []byte    `json:"consent,omitempty"`
	Added   time.Time `json:"added"`
	// Ahead is set during the write, and stays set if that is interrupted.
	Ahead bool `json:"ahead,omitempty"`
	// DeletedElsewhere is set once the change has met a tombstone of its item.
	DeletedElsewhere bool `json:"deleted_elsewhere,omitempty"`
}

// file names the change's file in pending/.
func (p *Pending) file() string {
	if p.Remove {
		return "remove-" + p.Item.String() + ".json"
	}
	return "revision-" + p.Revision.String() + ".json"
}

// check refuses a change that couldn't be pushed later.
func (p *Pending) check() error {
	switch {
	case p.Item.IsZero():
		return errors.New("a pending change names no item")
	case p.Remove && (!p.Revision.IsZero() || len(p.Wrapped) > 0):
		return errors.New("a pending removal has a revision or a DEK")
	case p.Remove != (len(p.Consent) > 0):
		return errors.New("a pending removal lacks a consent, or a revision has one")
	case !p.Remove && (p.Revision.IsZero() || len(p.Wrapped) == 0 || len(p.Line) == 0):
		return errors.New("a pending revision lacks its id, its DEK or its line")
	}
	return nil
}

// AddPending keeps a change. When it returns nil, the change is on disk and
// survives locks and restarts. Adding the same change again replaces it.
func (v *Vault) AddPending(ctx context.Context, p Pending) error {
	if err := p.check(); err != nil {
		return err
	}
	return v.locked(ctx, func() error {
		entries, err := os.ReadDir(v.file("pending"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("list pending changes: %w", err)
		}
		if len(entries) >= MaxPending {
			return ErrTooManyPending
		}
		return write(filepath.Join(v.dir, "pending", p.file()), "pending", p)
	})
}

// Pending returns the kept changes, oldest first. It leaves files that can't be
// used in place, and returns a *CorruptError for each of them, joined, along with
// the other changes.
func (v *Vault) Pending() ([]Pending, error) {
	entries, err := os.ReadDir(v.file("pending"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list pending changes: %w", err)
	}
	var list []Pending
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // a temporary file of a write
		}
		file := filepath.Join(v.dir, "pending", e.Name())
		var p Pending
		err := read(file, "pending", &p)
		if errors.Is(err, ErrNone) {
			continue // pushed and dropped in the meantime
		}
		if err == nil {
			if err = p.check(); err == nil && p.file() != e.Name() {
				err = errors.New("the file name belongs to another change")
			}
			if err != nil {
				err = &CorruptError{File: file, Err: err}
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Pending) int {
		return cmp.Or(a.Added.Compare(b.Added), strings.Compare(a.file(), b.file()))
	})
	return list, errors.Join(errs...)
}

// DropPending forgets a change that the backend has or the user has given up. It
// is not an error if the change isn't kept.
func (v *Vault) DropPending(ctx context.Context, p Pending) error {
	return v.locked(ctx, func() error {
		err := durable.Remove(filepath.Join(v.dir, "pending", p.file()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}
