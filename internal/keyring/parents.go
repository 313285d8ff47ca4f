package keyring

import (
	"fmt"
	"slices"
	"strings"

	"vigil/internal/canon"
	"vigil/internal/id"
)

// ReadParents reads a list of at most MaxParents revisions, sorted by their text
// without repetition, as stored in deks and in the vault file.
func ReadParents(r *canon.Reader) []id.Revision {
	r.Literal(`[`)
	if r.Try(`]`) {
		return nil
	}
	out := make([]id.Revision, 0, 1)
	last := ""
	for r.Err() == nil {
		var p id.Revision
		start := r.Offset()
		r.Fixed(p[:])
		if text := r.Since(start); string(text) <= last {
			r.Fail("parents sorted, each once")
		} else {
			last = string(text)
		}
		if len(out) == MaxParents {
			r.Fail(fmt.Sprintf("at most %d parents", MaxParents))
		}
		out = append(out, p)
		if !r.Try(`,`) {
			break
		}
	}
	r.Literal(`]`)
	return out
}

// AppendParents appends parents in the form that ReadParents reads.
func AppendParents(b []byte, parents []id.Revision) []byte {
	b = append(b, '[')
	for i, p := range parents {
		if i > 0 {
			b = append(b, ',')
		}
		b = canon.AppendBytes(b, p[:])
	}
	return append(b, ']')
}

// SortParents returns the revisions sorted by their text, each once: the order
// in which both formats store them and contexts bind them.
func SortParents(parents []id.Revision) []id.Revision {
	out := slices.Clone(parents)
	slices.SortFunc(out, func(a, b id.Revision) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}
