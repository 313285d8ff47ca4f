//go:build !linux

package guard

import "golang.org/x/sys/unix"

// ReadNow is read(2) on a descriptor that doesn't block.
func ReadNow(fd int, b []byte) (int, error) { return unix.Read(fd, b) }

// WriteNow is write(2) on a descriptor that doesn't block.
func WriteNow(fd int, b []byte) (int, error) { return unix.Write(fd, b) }
