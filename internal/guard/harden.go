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
	// FromStart: it was undumpable even before Harden, as a process is from exec
	// on if its user may not read the binary (Linux).
	FromStart bool
	// NoCore: a crash writes no core file.
	NoCore bool
	// PrivateFiles: files that the process creates are private to its user (umask 077).
	PrivateFiles bool
}

// Harden protects this process from others: not dumpable (on macOS,
// PT_DENY_ATTACH), no core file, umask 077. It sets all it can and returns what it
// set; the error joins the failures. Call it before reading any input.
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
