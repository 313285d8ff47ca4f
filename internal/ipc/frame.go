// Package ipc is what the protocols between Vigil's processes share: socketpairs,
// messages with a length, a hello by which different builds refuse each other, and
// child processes that end with their connection.
//
// The packages keeper, opener, handover and control define the messages.
package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
)

// HeaderLen is the size in bytes of a message's length: a big-endian uint32 that
// doesn't count itself.
const HeaderLen = 4

// ErrTooLong reports a message longer than its reader or writer allows.
var ErrTooLong = errors.New("message is too long")

// Length decodes the length in a message's header. It returns ErrTooLong if that
// exceeds limit.
func Length(header []byte, limit int) (int, error) {
	n := binary.BigEndian.Uint32(header)
	if uint64(n) > uint64(limit) {
		return 0, tooLong(uint64(n), limit)
	}
	return int(n), nil
}

// ReadLength reads a message's header; the caller reads the rest. The error is io.EOF
// if the stream ends before the message.
func ReadLength(r io.Reader, limit int) (int, error) {
	var header [HeaderLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, err
	}
	return Length(header[:], limit)
}

// Read reads one message of at most limit bytes. The error is io.EOF if the stream
// ends before it, and io.ErrUnexpectedEOF if it ends within. Memory is allocated as
// bytes arrive, not for the announced length.
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

// firstPart is how many bytes Read allocates before any arrive. Later it allocates at
// most twice what has arrived.
const firstPart = 64 << 10

// Write writes one message made of parts. It doesn't copy them, so a secret stays in
// guarded memory. If they exceed limit bytes together, it writes nothing and returns
// ErrTooLong.
func Write(w io.Writer, limit int, parts ...[]byte) error {
	n := 0
	message := make(net.Buffers, 1, 1+len(parts))
	for _, p := range parts {
		// The reader of an empty message is done with the header and may have closed
		// the connection: even an empty write would fail.
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
