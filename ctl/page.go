package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
	"golang.org/x/text/width"
)

// usualWidth is the width of help, and of a terminal that doesn't tell its own, in columns.
const usualWidth = 80

// page is text for people on its way to a stream. Lines that are wider than the page
// are broken at blanks; a page of width 0, as for a file or a pipe, breaks none.
type page struct {
	width    int  // columns
	coloured bool // the stream is a terminal that shows colours, and they are wanted
	text     bytes.Buffer
	line     bytes.Buffer // the beginning of a line
}

// pageFor returns a page as wide as the terminal that w is, if it is one.
func (a *app) pageFor(w io.Writer) *page {
	return &page{width: columns(w), coloured: a.wantsColours(w)}
}

func (p *page) colours() bool { return p.coloured }

// columns returns the width of a terminal, or 0 if w is something else.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(int(f.Fd())) {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return usualWidth
	}
	return int(size.Col)
}

// Write implements io.Writer.
func (p *page) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		p.line.Write(line)
		if bytes.HasSuffix(line, []byte("\n")) {
			p.endLine()
		}
	}
	return len(text), nil
}

func (p *page) endLine() {
	p.text.WriteString(fit(p.line.String(), p.width))
	p.line.Reset()
}

// verbatim writes text that is for a program, such as a line of authorized_keys, and is
// never broken. A terminal shows it over several rows, and copies it as one line.
func verbatim(w io.Writer, text string) {
	if p, ok := w.(*page); ok {
		p.endLine()
		w = &p.text
	}
	_, _ = io.WriteString(w, text)
}

// sendTo writes the page to w.
func (p *page) sendTo(w io.Writer) error {
	p.endLine()
	_, err := w.Write(p.text.Bytes())
	return err
}

// fit breaks a line that is wider than columns at blanks, never within a word, a quoted
// text or a command in backquotes, so that these can be copied. What follows is indented
// to the line's last column of a table, if it begins in the left half, or else by four.
func fit(line string, columns int) string {
	if columns == 0 || cells(strings.TrimRight(line, "\n")) <= columns {
		return line
	}
	at := columnOf(line, columns/2)
	indent := strings.Repeat(" ", cells(line[:at]))
	if strings.TrimLeft(line[:at], " ") == "" {
		indent += "    "
	}
	var b strings.Builder
	b.WriteString(line[:at])
	used := cells(line[:at])
	for i, w := range wordsOf(line[at:], columns-len(indent)) {
		switch {
		case i > 0 && used+w.blanks+cells(w.text) > columns:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteString(strings.Repeat(" ", w.blanks))
			used += w.blanks
		}
		b.WriteString(w.text)
		used += cells(w.text)
	}
	return b.String()
}

// columnOf returns where the last column of a table begins in a line, within the first
// limit bytes: after two blanks.
func columnOf(line string, limit int) int {
	head := line[:min(len(line), limit)]
	if i := strings.LastIndex(head, "  "); i >= 0 {
		return i + 2
	}
	return len(line) - len(strings.TrimLeft(line, " "))
}

// word is a part of a line that isn't broken, and the number of blanks before it.
type word struct {
	blanks int
	text   string
}

// wordsOf returns the words of a text. Brackets keep theirs together if they fit in room.
func wordsOf(text string, room int) (words []word) {
	for {
		rest := strings.TrimLeft(text, " ")
		if rest == "" {
			return words
		}
		blanks := len(text) - len(rest)
		end := spanOf(rest, room)
		if i := strings.IndexByte(rest[end:], ' '); i >= 0 {
			end += i
		} else {
			end = len(rest)
		}
		words = append(words, word{blanks, rest[:end]})
		text = rest[end:]
	}
}

// spanOf returns the length of the quoted or bracketed span that text begins with, or 0.
func spanOf(text string, room int) int {
	closer := map[byte]byte{'`': '`', '"': '"', '\'': '\'', '[': ']'}[text[0]]
	if closer == 0 {
		return 0
	}
	end := 2 + strings.IndexByte(text[1:], closer)
	if end < 2 || closer == ']' && cells(text[:end]) > room {
		return 0
	}
	return end
}

// cells returns how many columns a text takes on a terminal. Colours take none.
func cells(text string) (n int) {
	painting := false
	for _, r := range text {
		switch kind := width.LookupRune(r).Kind(); {
		case r == '\x1b':
			painting = true
		case painting:
			painting = r != 'm'
		case unicode.In(r, unicode.Mn, unicode.Me):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
