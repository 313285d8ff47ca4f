// Package ipc is what Vigil's processes have in common when they talk to one
// another: socketpairs, messages that begin with their length, a hello by which
// different builds refuse each other, and child processes that end when their
// connection closes.
//
// What the messages mean is in the packages that send them: keeper, opener,
// handover and control.
package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
)

// HeaderLen is the size in bytes of the length that begins a message: a
// big-endian uint32, which doesn't count itself.
const HeaderLen = 4

// ErrTooLong reports a message that is longer than its reader or writer allows.
var ErrTooLong = errors.New("message is too long")

// Length reads the length in a message's header. It returns ErrTooLong for one
// above limit.
func Length(header []byte, limit int) (int, error) {
	n := binary.BigEndian.Uint32(header)
	if uint64(n) > uint64(limit) {
		return 0, tooLong(uint64(n), limit)
	}
	return int(n), nil
}

// ReadLength reads a message's header, for a caller that reads the rest itself.
// The error is io.EOF when the stream ends before it.
func ReadLength(r io.Reader, limit int) (int, error) {
	var header [HeaderLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, err
	}
	return Length(header[:], limit)
}

// Read reads one message of at most limit bytes. The error is io.EOF when the
// stream ends before it, and io.ErrUnexpectedEOF when it ends within. Memory is
// allocated as bytes arrive, not for the length that was announced.
func Read(r io.Reader, limit int) ([]byte, error) {
	n, err := ReadLength(r, limit)
	if err != nil {
		return nil, err
	}
	b := []byte{}
	for len(b) < n {
		part := min(n-len(b), max(firstPart, len(b)))
		from := len(b)
		b = slices.Grow(b, part)[:from+part]
		if _, err := io.ReadFull(r, b[from:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return b, nil
}

// firstPart is how many bytes Read makes room for before any has come; from then
// on it has at most twice what came.
const firstPart = 64 << 10

// Write writes one message made of parts, from where they lie: a secret in
// guarded memory isn't copied. It returns ErrTooLong, and writes nothing, when
// they have more than limit bytes together.
func Write(w io.Writer, limit int, parts ...[]byte) error {
	n := 0
	message := make(net.Buffers, 1, 1+len(parts))
	for _, p := range parts {
		// A reader of an empty message has all of it with the header, and may be
		// gone by then: writing nothing to it would fail.
		if len(p) > 0 {
			message = append(message, p)
			n += len(p)
		}
	}
	if n > limit {
		return tooLong(uint64(n), limit)
	}
	message[0] = binary.BigEndian.AppendUint32(nil, uint32(n))
	_, err := message.WriteTo(w)
	return err
}

func tooLong(n uint64, limit int) error {
	return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLong, n, limit)
}
