// Package wire reads and writes the data types of RFC 4251 section 5 (byte,
// boolean, uint32, uint64, string, mpint) that SSH messages, SSH keys and
// Vigil's own process protocol are made of.
//
// A Reader never copies: the slices it returns alias its input, so a secret in guarded
// memory stays there. It never allocates memory for bytes that are missing. Errors are
// sticky: after the first one every method returns zero values, so a caller may read a
// whole message and check Err once.
package wire

import (
	"encoding/binary"
	"errors"
)

// ErrShort reports that a value ends before its declared length.
var ErrShort = errors.New("message is shorter than it says")

// ErrTrailing reports bytes after the last expected value.
var ErrTrailing = errors.New("message has bytes after its end")

// ErrBool reports a boolean that is neither 0 nor 1. RFC 4251 reads every non-zero
// value as true; Vigil refuses other values, so that a message has only one encoding.
var ErrBool = errors.New("boolean is neither 0 nor 1")

// ErrNegative reports a negative integer.
var ErrNegative = errors.New("integer is negative")

// ErrPadded reports an integer with needless leading zeros.
var ErrPadded = errors.New("integer has needless leading zeros")

// Reader reads values from the front of a byte slice.
type Reader struct {
	rest []byte
	err  error
}

// NewReader returns a Reader over b, which it aliases and never changes.
func NewReader(b []byte) Reader { return Reader{rest: b} }

// Err returns the first error met, or nil.
func (r *Reader) Err() error { return r.err }

// Rest returns the bytes not read yet, aliasing the input.
func (r *Reader) Rest() []byte { return r.rest }

// Len returns the number of bytes not read yet.
func (r *Reader) Len() int { return len(r.rest) }

// End returns the first error met, or ErrTrailing when bytes are left.
func (r *Reader) End() error {
	if r.err == nil && len(r.rest) != 0 {
		r.fail(ErrTrailing)
	}
	return r.err
}

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

// Bytes returns the next n bytes, aliasing the input.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.rest) {
		r.fail(ErrShort)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Bool reads a boolean; other values than 0 and 1 fail with ErrBool.
func (r *Reader) Bool() bool {
	v := r.Byte()
	if v > 1 {
		r.fail(ErrBool)
	}
	return v == 1
}

// Uint32 reads a big-endian 32-bit integer.
func (r *Reader) Uint32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads a big-endian 64-bit integer.
func (r *Reader) Uint64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// String reads a string: a uint32 length and that many bytes, aliasing the input.
func (r *Reader) String() []byte {
	n := r.Uint32()
	if r.err != nil {
		return nil
	}
	if uint64(n) > uint64(len(r.rest)) {
		r.fail(ErrShort)
		return nil
	}
	return r.Bytes(int(n))
}

// Mpint reads an mpint and returns its big-endian magnitude without leading zeros
// (empty for zero), aliasing the input. It reads needless leading zeros, as OpenSSH does;
// some programs write integers at a fixed width. A negative one fails with ErrNegative.
func (r *Reader) Mpint() []byte {
	b := r.String()
	if len(b) > 0 && b[0]&0x80 != 0 {
		r.fail(ErrNegative)
		return nil
	}
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// ShortestMpint is Mpint for numbers of which equal ones must be equal bytes: needless
// leading zeros, which RFC 4251 forbids, fail with ErrPadded.
func (r *Reader) ShortestMpint() []byte {
	before := r.Len()
	m := r.Mpint()
	zeros := before - r.Len() - 4 - len(m)
	if zeros > 1 || zeros == 1 && (len(m) == 0 || m[0]&0x80 == 0) {
		r.fail(ErrPadded)
		return nil
	}
	return m
}

// AppendUint32 appends a big-endian 32-bit integer.
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendUint64 appends a big-endian 64-bit integer.
func AppendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendBool appends a boolean as 0 or 1.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendString appends a length and s.
func AppendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(AppendUint32(b, uint32(len(s))), s...)
}

// AppendList appends a list: how many elements it has, as a uint32, and each as one
// appends it.
func AppendList[T any](b []byte, list []T, one func([]byte, *T) []byte) []byte {
	b = AppendUint32(b, uint32(len(list)))
	for i := range list {
		b = one(b, &list[i])
	}
	return b
}

// ReadList reads a list of elements, each as one reads it. Memory is allocated as
// elements are read, not for the number that was announced.
func ReadList[T any](r *Reader, one func(*Reader) T) (list []T) {
	for n := r.Uint32(); n > 0 && r.Err() == nil; n-- {
		list = append(list, one(r))
	}
	return list
}

// AppendMpint appends the non-negative integer with big-endian magnitude m;
// leading zeros of m are dropped.
func AppendMpint(b, m []byte) []byte {
	for len(m) > 0 && m[0] == 0 {
		m = m[1:]
	}
	if len(m) > 0 && m[0]&0x80 != 0 {
		b = AppendUint32(b, uint32(len(m)+1))
		return append(append(b, 0), m...)
	}
	return AppendString(b, m)
}
