package guard

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Hardening says what Harden set, for status.
type Hardening struct {
	// Undumpable: other processes of this user can't attach to this one or read
	// its memory. On macOS, that no debugger can attach.
	Undumpable bool
	// FromStart: it was undumpable before Harden already, which holds from exec on
	// for a binary that its user may not read (Linux).
	FromStart bool
	// NoCore: a crash writes no core file.
	NoCore bool
	// PrivateFiles: what the process creates is for its user only (umask 077).
	PrivateFiles bool
}

// Harden shuts other processes out of this one: not dumpable (on macOS,
// PT_DENY_ATTACH), no core file, umask 077. It sets all it can and returns what
// it did; the error joins what failed. Call it before the first input.
func Harden() (Hardening, error) {
	var h Hardening
	var errs []error
	h.FromStart = undumpable()
	if err := denyAttach(); err != nil {
		errs = append(errs, fmt.Errorf("shut out debuggers: %w", err))
	} else {
		h.Undumpable = true
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("forbid core files: %w", err))
	} else {
		h.NoCore = true
	}
	unix.Umask(0o077)
	h.PrivateFiles = true
	return h, errors.Join(errs...)
}
