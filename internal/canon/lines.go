package canon

import "bytes"

// Lines iterates over the lines of a stored object without copying.
type Lines struct {
	rest   []byte
	number int
}

// NewLines returns an iterator over the lines of b, which it aliases.
func NewLines(b []byte) Lines { return Lines{rest: b} }

// Next returns the next line without its line feed, and its number, counted from 1.
// ended reports whether there was a line feed: only the last line of a truncated
// object lacks it. ok is false if no bytes are left.
func (l *Lines) Next() (line []byte, number int, ended, ok bool) {
	if len(l.rest) == 0 {
		return nil, l.number, false, false
	}
	l.number++
	n := bytes.IndexByte(l.rest, '\n')
	if n < 0 {
		line, l.rest = l.rest, nil
		return line, l.number, false, true
	}
	line, l.rest = l.rest[:n:n], l.rest[n+1:]
	return line, l.number, true, true
}
