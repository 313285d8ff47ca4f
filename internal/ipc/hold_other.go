//go:build !linux

package ipc

import (
	"errors"
	"os"
)

// hold fails: this system executes no descriptors.
func hold(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// withPath is never called, as nothing is held.
func withPath(*os.File, func(path string) error) error { return errors.ErrUnsupported }
