package ipc

import (
	"errors"
	"fmt"
	"io"

	"vigil/internal/buildid"
	"vigil/internal/id"
	"vigil/internal/wire"
)

// Role is what a process is to the one at the other end.
type Role string

// The roles of Vigil's processes.
const (
	Front  Role = "front"
	Keeper Role = "keeper"
	Opener Role = "opener"
)

// maxHello bounds a hello in bytes: it has about 100.
const maxHello = 1 << 10

// ErrMismatch reports a process at the other end that is of another build, has
// another role or is there for another vault.
var ErrMismatch = errors.New("processes of different builds, or for different vaults: restart vigild")

// hello is the first message, both ways.
func hello(role Role, vault id.Vault) []byte {
	b := wire.AppendString(nil, buildid.ID())
	b = wire.AppendString(b, role)
	return wire.AppendString(b, vault[:])
}

// Greet exchanges hellos: we are ours, and the other end must be theirs, of this
// build, and there for the same vault; all zero is none. The error is ErrMismatch
// when it isn't.
func Greet(rw io.ReadWriter, ours, theirs Role, vault id.Vault) error {
	if err := Write(rw, maxHello, hello(ours, vault)); err != nil {
		return err
	}
	got, err := Read(rw, maxHello)
	if err != nil {
		return err
	}
	return compare(got, hello(theirs, vault))
}

// Answer is the side of Greet that learns from the other which vault it's for.
func Answer(rw io.ReadWriter, ours, theirs Role) (vault id.Vault, err error) {
	got, err := Read(rw, maxHello)
	if err != nil {
		return vault, err
	}
	r := wire.NewReader(got)
	_, _ = r.String(), r.String()
	if text := r.String(); r.End() == nil && len(text) == len(vault) {
		vault = id.Vault(text)
	}
	// Whoever is there hears who we are, so that it can say what's wrong.
	if err := Write(rw, maxHello, hello(ours, vault)); err != nil {
		return vault, err
	}
	return vault, compare(got, hello(theirs, vault))
}

func compare(got, want []byte) error {
	if string(got) == string(want) {
		return nil
	}
	r := wire.NewReader(got)
	if build := r.String(); string(build) != buildid.ID() {
		return fmt.Errorf("%w (build %.40q and %q)", ErrMismatch, build, buildid.ID())
	}
	return ErrMismatch
}
