package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// keyName derives a key's name from its file's: without what a name can't have, which
// are blanks and unprintable characters, and without "-" at its start, which looks like
// a flag. It returns "" if nothing is left.
func keyName(path string) string {
	words := strings.FieldsFunc(filepath.Base(path), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError
	})
	return strings.TrimLeft(strings.Join(words, "-"), "-")
}

// freeName returns name, with a number appended if it is taken.
func freeName(name string, taken func(string) bool) string {
	if name == "" {
		return "" // the daemon makes one
	}
	free := name
	for n := 2; taken(free); n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}
