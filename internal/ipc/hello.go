package ipc

import (
	"errors"
	"fmt"
	"io"

	"vigil/internal/buildid"
	"vigil/internal/id"
	"vigil/internal/wire"
)

// Role is a process's part in a conversation.
type Role string

// The roles of Vigil's processes.
const (
	Front  Role = "front"
	Keeper Role = "keeper"
	Opener Role = "opener"
	Asker  Role = "asker"
)

// maxHello bounds a hello, in bytes. A hello has about 100.
const maxHello = 1 << 10

// ErrMismatch reports a peer of another build, in another role or for another vault.
var ErrMismatch = errors.New("processes of different builds, or for different vaults: restart vigild")

// hello returns the first message, the same in both directions.
func hello(role Role, vault id.Vault) []byte {
	b := wire.AppendString(nil, buildid.ID())
	b = wire.AppendString(b, role)
	return wire.AppendString(b, vault[:])
}

// Greet exchanges hellos in the role ours. The peer must have the role theirs, this
// build and the same vault (zero: none); otherwise the error is ErrMismatch.
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

// Answer is Greet for the side that learns the vault from the peer.
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
	// Any peer gets our hello, so that it can report the mismatch.
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
