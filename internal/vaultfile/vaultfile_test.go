package vaultfile

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vigil/internal/id"
)

var testVault = id.Vault{1, 2, 3}

// rev returns a revision whose seals identify it.
func rev(item, n byte, parents ...byte) Revision {
	v := Revision{Item: id.Item{15: item}, Revision: id.Revision{14: item, 15: n}}
	for _, p := range parents {
		v.Parents = append(v.Parents, id.Revision{14: item, 15: p})
	}
	v.Meta = bytes.Repeat([]byte{item, n}, minSealed/2)
	v.Secret = bytes.Repeat([]byte{n, item}, minSealed/2)
	return v
}

func encode(t testing.TB, f *File) string {
	t.Helper()
	b, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t testing.TB, data string) *File {
	t.Helper()
	f, err := Parse([]byte(data), testVault)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestReadBackAsWritten(t *testing.T) {
	good := encode(t, New(testVault).Add(rev(2, 1), rev(1, 2, 1), rev(1, 1)))
	f := parse(t, good)
	if len(f.Lines()) != 3 || encode(t, f) != good {
		t.Fatal("encoded differently the second time")
	}
	if !strings.HasPrefix(good, string(Header(testVault))) {
		t.Fatal("no header")
	}
	if !has(f, rev(1, 2, 1)) || has(f, rev(1, 2)) || has(f, rev(2, 2)) {
		t.Fatal("Has is wrong")
	}
	v := f.Lines()[0].Decode()
	again, err := ParseLine(v.Line())
	if err != nil || !bytes.Equal(again.Line(), v.Line()) {
		t.Fatalf("a line by itself: %v", err)
	}
}

// TestWhatSyncToolsDo: order, repetition and a second header don't matter, and the
// file is written the same again.
func TestWhatSyncToolsDo(t *testing.T) {
	good := encode(t, New(testVault).Add(rev(1, 1), rev(2, 1), rev(3, 1)))
	lines := strings.SplitAfter(strings.TrimSuffix(good, "\n"), "\n")
	lines[3] += "\n"
	for name, data := range map[string]string{
		"other order":       lines[0] + lines[3] + lines[1] + lines[2],
		"repeated line":     good + lines[2],
		"cat of two files":  good + good,
		"no last line feed": strings.TrimSuffix(good, "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, data)
			if len(f.Damaged()) != 0 || encode(t, f) != good {
				t.Fatalf("damaged: %v, or written differently", f.Damaged())
			}
		})
	}
}

func TestUnusableFiles(t *testing.T) {
	good := encode(t, New(testVault).Add(rev(1, 1)))
	other := string(Header(id.Vault{9}))
	for name, tt := range map[string]struct {
		data string
		want Stage
	}{
		"empty":                      {"", StageHeader},
		"something else":             {"hello\n", StageHeader},
		"half a header":              {good[:30], StageHeader},
		"header not first":           {strings.SplitAfter(good, "\n")[1] + good, StageHeader},
		"version 2":                  {strings.Replace(good, `"version":1`, `"version":2`, 1), StageVersion},
		"another vault":              {other, StageVault},
		"another vault's file added": {good + other, StageVault},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.data), testVault)
			if got := StageOf(err); got != tt.want {
				t.Fatalf("refused at %q (%v), want %q", got, err, tt.want)
			}
		})
	}
	_, err := Parse([]byte(other), testVault)
	var v *VaultError
	if !errors.As(err, &v) || v.Expected != testVault || v.Found != (id.Vault{9}) {
		t.Fatalf("error says %+v", v)
	}
	if f, err := Parse([]byte(other), id.Vault{}); err != nil || f.Vault() != (id.Vault{9}) {
		t.Fatalf("any vault: %v", err)
	}
}

// TestDamagedLines: each is reported, doesn't hide others, and is not lost.
func TestDamagedLines(t *testing.T) {
	good := encode(t, New(testVault).Add(rev(1, 1), rev(2, 1), rev(3, 1)))
	lines := strings.SplitAfter(strings.TrimSuffix(good, "\n"), "\n")
	lines[3] += "\n"
	second := lines[2]
	for name, tt := range map[string]struct {
		line string
		says string
		item bool // its item can still be read
	}{
		"empty":             {"\n", "empty line", false},
		"cut":               {second[:len(second)/2] + "\n", "byte", true},
		"conflict marker":   {"<<<<<<< HEAD\n", "conflict", false},
		"carriage return":   {strings.Replace(second, "\n", "\r\n", 1), "carriage return", true},
		"white space":       {strings.Replace(second, `,"meta"`, ` ,"meta"`, 1), "byte", true},
		"not base64url":     {strings.Replace(second, `"meta":"`, `"meta":"*`, 1), "byte", true},
		"members reordered": {strings.Replace(second, `"item"`, `"revision"`, 1), "byte", false},
		"unknown member":    {strings.Replace(second, `}`, `,"x":1}`, 1), "byte", true},
		"too long":          {`{"item":"` + strings.Repeat("A", MaxLine) + "\"}\n", "longer", false},
		"two lines in one":  {strings.TrimSuffix(second, "\n") + second, "byte", true},
	} {
		t.Run(name, func(t *testing.T) {
			data := lines[0] + lines[1] + tt.line + lines[3]
			f := parse(t, data)
			if len(f.Lines()) != 2 {
				t.Fatalf("%d other revisions, want 2", len(f.Lines()))
			}
			d := f.Damaged()
			if len(d) != 1 || d[0].Line != 3 || !strings.Contains(d[0].What, tt.says) || d[0].Item.IsZero() == tt.item {
				t.Fatalf("damaged is %v", d)
			}
			if _, err := f.Encode(); !errors.Is(err, ErrDamaged) {
				t.Fatalf("encode: %v, want ErrDamaged", err)
			}
			if kept := f.EncodeAll(); !bytes.Contains(kept, []byte(tt.line)) {
				t.Fatal("EncodeAll dropped the line")
			}
			if f.Add(rev(4, 1)).Damaged() == nil || f.Prune(manifestOf(nil), nil).Damaged() == nil {
				t.Fatal("a change forgot the line")
			}
		})
	}
	t.Run("half-written", func(t *testing.T) {
		f := parse(t, good[:len(good)-40])
		if len(f.Lines()) != 2 || len(f.Damaged()) != 1 || !strings.Contains(f.Damaged()[0].What, "cut") {
			t.Fatalf("damaged is %v", f.Damaged())
		}
	})
}

// TestMergeIsAUnion checks over random histories of three devices that merging
// commutes, associates, is idempotent, and loses nothing.
func TestMergeIsAUnion(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var devices [3]*File
		for i := range devices {
			devices[i] = New(testVault)
		}
		for range 30 {
			i, n := rng.IntN(3), byte(1+rng.IntN(20))
			switch rng.IntN(4) {
			case 0:
				devices[i] = merged(t, devices[i], devices[rng.IntN(3)])
			case 1:
				devices[i] = parse(t, string(devices[i].EncodeAll())+"damage "+string('a'+rune(n))+"\n")
			default:
				devices[i] = devices[i].Add(rev(1+n%5, n, n-1))
			}
		}
		a, b, c := devices[0], devices[1], devices[2]
		same(t, seed, "commutes", merged(t, a, b), merged(t, b, a))
		same(t, seed, "associates", merged(t, merged(t, a, b), c), merged(t, a, merged(t, b, c)))
		same(t, seed, "is idempotent", merged(t, a, a), merged(t, a, New(testVault)))
		all := merged(t, merged(t, a, b), c).EncodeAll()
		for _, f := range devices {
			for _, line := range bytes.SplitAfter(f.EncodeAll(), []byte("\n")) {
				if !bytes.Contains(all, line) {
					t.Fatalf("seed %d: a line was lost", seed)
				}
			}
		}
	}
	if _, err := Merge(New(testVault), New(id.Vault{9})); StageOf(err) != StageVault {
		t.Fatalf("merge of two vaults: %v", err)
	}
}

func merged(t *testing.T, a, b *File) *File {
	t.Helper()
	f, err := Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func same(t *testing.T, seed uint64, what string, a, b *File) {
	t.Helper()
	if !bytes.Equal(a.EncodeAll(), b.EncodeAll()) {
		t.Fatalf("seed %d: merging no longer %s", seed, what)
	}
}

func TestMeta(t *testing.T) {
	full := Meta{
		Name: "work", Comment: "Käse \"quoted\"\n", Created: 1700000000,
		Public: []byte("blob"), Certificate: []byte("cert"), Hosts: []string{"*.example.org", "git.example.com"},
		Policy: Policy{Confirm: true, Destinations: []byte{0, 0}, Other: []PolicyEntry{{"touch@example.org", []byte{1}}}},
		Tags:   []string{"a", "b"},
	}
	for name, m := range map[string]Meta{"full": full, "least": {Public: []byte{1}}} {
		t.Run(name, func(t *testing.T) {
			b, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseMeta(b)
			if err != nil {
				t.Fatal(err)
			}
			again, err := got.Encode()
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("encoded differently the second time: %s, %v", again, err)
			}
			if got.Name != m.Name || got.Comment != m.Comment || got.Policy.Confirm != m.Policy.Confirm ||
				len(got.Policy.Other) != len(m.Policy.Other) || !slices.Equal(got.Hosts, m.Hosts) {
				t.Fatalf("read back %+v", got)
			}
		})
	}
	unsorted := full
	unsorted.Tags = []string{"b", "a", "b"}
	sorted, _ := full.Encode()
	if b, err := unsorted.Encode(); err != nil || !bytes.Equal(b, sorted) {
		t.Fatalf("tags are not sorted: %s, %v", b, err)
	}
	for name, change := range map[string]func(*Meta){
		"no public key":  func(m *Meta) { m.Public = nil },
		"long name":      func(m *Meta) { m.Name = strings.Repeat("a", maxText+1) },
		"not UTF-8":      func(m *Meta) { m.Comment = "\xff" },
		"sha1 with data": func(m *Meta) { m.Policy.Other = []PolicyEntry{{"allow-sha1", []byte{1}}} },
		"policy twice":   func(m *Meta) { m.Policy.Other = []PolicyEntry{{"confirm", nil}} },
		"bad entry":      func(m *Meta) { m.Policy.Other = []PolicyEntry{{"two words", nil}} },
		"large":          func(m *Meta) { m.Public, m.Certificate = make([]byte, maxBlob), make([]byte, maxBlob) },
	} {
		m := full
		change(&m)
		if _, err := m.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func FuzzVaultfile(f *testing.F) {
	good := encode(f, New(testVault).Add(rev(1, 1), rev(1, 2, 1), rev(2, 1)))
	f.Add([]byte(good))
	f.Add([]byte(good[:len(good)-10]))
	f.Add([]byte(good + "<<<<<<< HEAD\n" + good))
	f.Add(Header(testVault))
	f.Add([]byte(strings.ReplaceAll(good, "\n", "\r\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data, id.Vault{})
		if err != nil {
			if StageOf(err) == "" {
				t.Fatalf("error without a stage: %v", err)
			}
			return
		}
		// Every line is in the file that is written, and parsing that file
		// changes nothing.
		out := file.EncodeAll()
		header := bytes.TrimSuffix(Header(file.Vault()), []byte("\n"))
		have := map[string]bool{}
		for line := range bytes.Lines(out) {
			have[string(bytes.TrimSuffix(line, []byte("\n")))] = true
		}
		for line := range bytes.Lines(data) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			if !have[string(line)] && !bytes.Equal(line, header) {
				t.Fatalf("line %q was lost", line)
			}
		}
		again, err := Parse(out, file.Vault())
		if err != nil || !bytes.Equal(again.EncodeAll(), out) {
			t.Fatalf("written file reads differently: %v", err)
		}
		self, err := Merge(file, again)
		if err != nil || len(self.Lines()) != len(file.Lines()) {
			t.Fatalf("merged with itself: %d revisions, %v", len(self.Lines()), err)
		}
	})
}

func FuzzMeta(f *testing.F) {
	m := Meta{Name: "work", Public: []byte{1}, Hosts: []string{"a"}, Policy: Policy{Confirm: true, Destinations: []byte{1}}}
	b, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMeta(data)
		if err != nil {
			return
		}
		if again, err := m.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted what is not canonical: %v", err)
		}
	})
}

func BenchmarkParse10000(b *testing.B) {
	f := New(testVault)
	var revs []Revision
	for i := range 10_000 {
		v := rev(1, 1)
		v.Item, v.Revision = id.NewItem(), id.NewRevision()
		v.Meta[0] = byte(i)
		revs = append(revs, v)
	}
	data := f.Add(revs...).EncodeAll()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse(data, testVault); err != nil {
			b.Fatal(err)
		}
	}
}
