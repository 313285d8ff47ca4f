package vaultfile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"vigil/internal/id"
)

// pick returns a file with some of n revisions.
func pick(r *rand.Rand, n int) *File {
	var some []Revision
	for i := range n {
		if r.IntN(3) > 0 {
			some = append(some, rev(byte(i), byte(1+r.IntN(3))))
		}
	}
	return New(testVault).Add(some...)
}

// TestAChangeMakesOneFileOfAnother, whatever the two have in common.
func TestAChangeMakesOneFileOfAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		a, b := pick(r, 8), pick(r, 8)
		d := a.Index().Delta(b)
		got, err := a.Apply(d)
		if err != nil || encode(t, got) != encode(t, b) {
			t.Fatalf("%d lines and %d: applying their change gives %d, %v", len(a.lines), len(b.lines), len(got.lines), err)
		}
		if a.Index().Same(b) != (len(d.Add)+len(d.Drop) == 0) || !b.Index().Same(b) {
			t.Fatal("Same and Delta don't agree")
		}
	}
}

func TestAChangeOfAnotherFileIsRefused(t *testing.T) {
	f := New(testVault).Add(rev(1, 1), rev(2, 1), rev(3, 1))
	line := func(n byte) []byte { v := rev(n, 1); return v.Text() }
	for name, d := range map[string]Delta{
		"beyond the end":    {Drop: []int{3}},
		"negative":          {Drop: []int{-1}},
		"twice":             {Drop: []int{1, 1}},
		"not ascending":     {Drop: []int{2, 0}},
		"line of nothing":   {Add: [][]byte{[]byte("{}")}},
		"line with its end": {Add: [][]byte{append(line(4), '\n')}},
	} {
		t.Run(name, func(t *testing.T) {
			var line *LineError
			if _, err := f.Apply(d); !errors.Is(err, ErrDelta) && !errors.As(err, &line) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// TestAnIndexKeepsNothingElse: the front has an index for as long as a vault is unlocked.
func TestAnIndexKeepsNothingElse(t *testing.T) {
	text := New(testVault).Add(rev(1, 1), rev(2, 1)).EncodeAll()
	read := weak.Make(&text[0])
	x := parse(t, string(text)).Index()
	y, err := Parse(text, testVault)
	if err != nil {
		t.Fatal(err)
	}
	z := y.Index()
	y, text = nil, nil
	runtime.GC()
	if read.Value() != nil {
		t.Error("the text of the file is still in memory")
	}
	if !slices.Equal(x.sums, z.sums) || x.Size() != z.Size() {
		t.Error("two indexes of one file differ")
	}
	runtime.KeepAlive(z)
}

// TestASmallFileKeepsNothingElse: a few lines don't keep all of the data that was read
// in memory.
func TestASmallFileKeepsNothingElse(t *testing.T) {
	want := encode(t, New(testVault).Add(rev(1, 1)))
	text := []byte(strings.Repeat(want, 3))
	f := parse(t, string(text))
	if encode(t, f) != want {
		t.Fatal("repeated lines are kept")
	}
	f, err := Parse(text, testVault)
	if err != nil {
		t.Fatal(err)
	}
	clear(text)
	if encode(t, f) != want {
		t.Fatal("its lines lie in what was read")
	}
	line := f.Lines()[0].Decode()
	if !bytes.Equal(line.Text(), f.Lines()[0].Text()) {
		t.Fatal("what its line encodes lies in what was read")
	}
}

func TestAChangeIsRefusedThatMakesAFileTooLarge(t *testing.T) {
	big := rev(1, 1)
	big.Meta, big.Secret = bytes.Repeat([]byte{1}, 100_000), bytes.Repeat([]byte{2}, 250_000)
	line := big.Text()
	d := Delta{}
	for n := range MaxFile/len(line) + 1 {
		other := bytes.Clone(line)
		copy(other[len(`{"item":"`):], fmt.Sprintf("%08x", n))
		d.Add = append(d.Add, other)
	}
	if _, err := New(testVault).Apply(d); StageOf(err) != StageSize {
		t.Fatalf("got %v", err)
	}
}

func TestSame(t *testing.T) {
	good := string(New(testVault).Add(rev(1, 1), rev(2, 1)).EncodeAll())
	damaged := good + "what nobody can read\n"
	last := good[:strings.LastIndexByte(good[:len(good)-1], '\n')+1]
	for name, tt := range map[string]struct {
		had, has string
		want     bool
	}{
		"as it is":             {good, good, true},
		"without a line feed":  {good, good[:len(good)-1], true},
		"the same lines twice": {good, good + good, true},
		"no items":             {good, string(New(testVault).EncodeAll()), false},
		"a line missing":       {good, last, false},
		"a line more":          {last, good, false},
		"another vault's":      {string(New(testVault).EncodeAll()), string(New(id.Vault{9}).EncodeAll()), false},
		"damaged as before":    {damaged, damaged, true},
		"damaged now":          {good, damaged, false},
		"repaired":             {damaged, good, false},
		"damaged elsewhere":    {damaged, damaged + "nor this\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			had, err := Parse([]byte(tt.had), id.Vault{})
			has, otherErr := Parse([]byte(tt.has), id.Vault{})
			if err := errors.Join(err, otherErr); err != nil {
				t.Fatal(err)
			}
			if had.Index().Same(has) != tt.want {
				t.Fatalf("want %v", tt.want)
			}
		})
	}
}

func TestParseHeader(t *testing.T) {
	if vault, err := ParseHeader(New(testVault).Add(rev(1, 1)).EncodeAll()[:200]); err != nil || vault != testVault {
		t.Fatalf("got %v, %v", vault, err)
	}
	for _, text := range []string{"", "\n", "{}", `{"vigil":"vault","version":2,"vault":"x"}`} {
		if _, err := ParseHeader([]byte(text)); StageOf(err) != StageHeader && StageOf(err) != StageVersion {
			t.Fatalf("%q: %v", text, err)
		}
	}
}
