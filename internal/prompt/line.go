package prompt

import "vigil/internal/guard"

// Keys that a line is edited with, in the mode in which the terminal passes on every key.
const (
	keyInterrupt = 0x03 // Ctrl-C
	keyEnd       = 0x04 // Ctrl-D
	keyBackspace = 0x08
	keyTab       = 0x09
	keyKill      = 0x15 // Ctrl-U
	keyEscape    = 0x1b
	keyDelete    = 0x7f
)

// line is a line that is being typed, into memory of the caller's. Control characters
// never become a part of it, nor what a cursor key sends (ECMA-48, 5.4).
type line struct {
	b      []byte
	n      int
	escape escape
}

// escape says where in a control sequence the line is.
type escape int

const (
	noEscape   escape = iota
	afterESC          // of a sequence's beginning
	inSequence        // after ESC [
	lastKey           // after ESC O
)

// take takes what was typed, and reports whether the line is at its end. The error is
// ErrDeclined or ErrTooLong.
func (l *line) take(typed []byte) (done bool, err error) {
	guard.Do(func() {
		for _, c := range typed {
			if done, err = l.key(c); done || err != nil {
				return
			}
		}
	})
	return done, err
}

func (l *line) key(c byte) (done bool, err error) {
	if l.escape != noEscape {
		l.sequence(c)
		return false, nil
	}
	switch {
	case c == '\r' || c == '\n':
		return true, nil
	case c == keyInterrupt, c == keyEnd && l.n == 0:
		return false, ErrDeclined
	case c == keyBackspace || c == keyDelete:
		l.erase()
	case c == keyKill:
		guard.Wipe(l.b[:l.n])
		l.n = 0
	case c == keyEscape:
		l.escape = afterESC
	case c < ' ' && c != keyTab:
	case l.n == len(l.b):
		return false, ErrTooLong
	default:
		l.b[l.n] = c
		l.n++
	}
	return false, nil
}

// sequence takes a byte of a control sequence, which is dropped.
func (l *line) sequence(c byte) {
	switch {
	case l.escape == afterESC && c == '[':
		l.escape = inSequence
	case l.escape == afterESC && c == 'O':
		l.escape = lastKey
	case l.escape == inSequence && (c < 0x40 || c == 0x7f):
	default:
		l.escape = noEscape
	}
}

// erase removes the last character, of UTF-8.
func (l *line) erase() {
	for l.n > 0 {
		l.n--
		c := l.b[l.n]
		l.b[l.n] = 0
		if c&0xc0 != 0x80 {
			return
		}
	}
}
