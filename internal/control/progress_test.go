package control

import (
	"slices"
	"testing"
)

// TestProgressComesBeforeTheReply, to a client that wants it.
func TestProgressComesBeforeTheReply(t *testing.T) {
	arrived := make(chan Progress)
	c := connect(t, serve(t, &fake{verify: func(r *VerifyRequest) (*VerifyReply, error) {
		for done := range 3 {
			r.Report(done, 3)
			if got := <-arrived; got != (Progress{done, 3}) {
				t.Errorf("%+v arrived, want %d of 3", got, done)
			}
		}
		return &VerifyReply{Items: 3}, nil
	}}))
	c.OnProgress = func(p Progress) { arrived <- p }
	if r, err := Do(t.Context(), c, &VerifyRequest{}); err != nil || r.Items != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestProgressHoldsNothingUp: neither a client that doesn't want it, nor one that reads
// too slowly for all of it, which gets what is newest.
func TestProgressHoldsNothingUp(t *testing.T) {
	const many = 100_000
	c := connect(t, serve(t, &fake{verify: func(r *VerifyRequest) (*VerifyReply, error) {
		for done := range many {
			r.Report(done, many)
		}
		return &VerifyReply{}, nil
	}}))
	if _, err := Do(t.Context(), c, &VerifyRequest{}); err != nil {
		t.Error(err)
	}
	var got []int
	c.OnProgress = func(p Progress) { got = append(got, p.Done) }
	for range 3 {
		got = nil
		if _, err := Do(t.Context(), c, &VerifyRequest{}); err != nil || len(got) > 100 || !slices.IsSorted(got) {
			t.Errorf("%d messages, sorted %v, %v", len(got), slices.IsSorted(got), err)
		}
	}
}
