package main

import (
	"fmt"
	"os"

	"vigil/internal/guard"
)

// maxPassphrase is the longest passphrase that can be typed, in bytes. It fits
// into a pipe (PIPE_BUF is 4096 on Linux and at least 512 elsewhere), so that it
// can be written before anyone reads.
const maxPassphrase = 512

// secret is a passphrase that a person typed. Its owner calls wipe. It prints as
// [redacted].
type secret struct {
	guard.Redacted
	b []byte
}

func (s *secret) wipe() {
	if s != nil {
		guard.Wipe(s.b)
	}
}

// pipe returns the read end of a pipe that holds the secret, with its write end
// closed. The caller closes it. A pipe's memory is the kernel's and isn't swapped.
func (s *secret) pipe() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the passphrase: %w", err)
	}
	_, err = w.Write(s.b)
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("write the passphrase to a pipe: %w", err)
	}
	return r, nil
}
