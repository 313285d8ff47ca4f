package keyring

import (
	"strings"

	"vigil/internal/words"
)

// Words is the number of words in a fingerprint: 96 bits of a SHA-256, so that
// nobody finds a second request with the same words.
const Words = 12

// inWords writes the first bytes of a hash as words.
func inWords(hash [32]byte) string {
	list := make([]string, Words)
	for i := range list {
		list[i] = words.List[hash[i]]
	}
	return strings.Join(list, " ")
}

// SameWords reports whether two fingerprints have the same words, whatever
// separates them.
func SameWords(a, b string) bool {
	x, y := fields(a), fields(b)
	return len(x) == Words && strings.Join(x, " ") == strings.Join(y, " ")
}

func fields(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r < 'a' || r > 'z' })
}
