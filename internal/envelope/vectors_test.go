package envelope_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/internal/keyring"
)

// The vectors of format version 1 are for every reader, in any language:
// vault.jsonl, members.jsonl and deks.jsonl are a good vault, secrets.json says
// what opens it and what comes out, and each file of faults is one of the three
// objects with one fault, below two lines that name the object and the stage
// that must refuse it. testdata/v1/README.md says the same.
const vectors = "testdata/v1"

var writeVectors = flag.Bool("write-vectors", false, "replace the test vectors; those of a released version stay as they are")

// vectorSecrets is secrets.json.
type vectorSecrets struct {
	Readers []vectorReader `json:"readers"`
	// What comes out, for every reader.
	KEKs  map[string]string `json:"keks"` // version to key
	Items []vectorItem      `json:"items"`
}

// vectorReader is an identity's two factors and what they open.
type vectorReader struct {
	Vault      string             `json:"vault"`
	Identity   string             `json:"identity"`
	Passphrase string             `json:"passphrase"`
	Share      string             `json:"share"`
	Argon2     string             `json:"argon2"`
	Unlock     string             `json:"unlock"`
	Halves     string             `json:"halves"`
	MembersPin keyring.MembersPin `json:"membersPin"`
	DeksPin    keyring.DeksPin    `json:"deksPin"`
}

type vectorItem struct {
	Item     string `json:"item"`
	Revision string `json:"revision"`
	DEK      string `json:"dek"`
	Meta     string `json:"meta"`
	Secret   string `json:"secret"`
}

func (r vectorReader) factors(t *testing.T) (f factors) {
	t.Helper()
	if err := f.Vault.UnmarshalText([]byte(r.Vault)); err != nil {
		t.Fatal(err)
	}
	if err := f.Identity.UnmarshalText([]byte(r.Identity)); err != nil {
		t.Fatal(err)
	}
	f.Passphrase, f.Share = r.Passphrase, must(base64.RawURLEncoding.DecodeString(r.Share))(t)
	f.MembersPin, f.DeksPin = r.MembersPin, r.DeksPin
	return f
}

func loadVectors(t *testing.T) (o objects, s vectorSecrets) {
	t.Helper()
	load := func(name string) []byte { return must(os.ReadFile(filepath.Join(vectors, name)))(t) }
	o = objects{vault: load("vault.jsonl"), members: load("members.jsonl"), deks: load("deks.jsonl")}
	if err := json.Unmarshal(load("secrets.json"), &s); err != nil {
		t.Fatal(err)
	}
	return o, s
}

func TestVectorsOpen(t *testing.T) {
	if *writeVectors {
		write(t)
	}
	o, s := loadVectors(t)
	if len(s.Readers) != 2 || len(s.Items) != 3 {
		t.Fatalf("%d readers and %d items, want 2 and 3", len(s.Readers), len(s.Items))
	}
	for _, r := range s.Readers {
		got, err := read(o, r.factors(t))
		wantStage(t, err, "")
		same := func(what, want string, got []byte) {
			t.Helper()
			if b64(got) != want {
				t.Errorf("%s is %s, want %s", what, b64(got), want)
			}
		}
		same("argon2", r.Argon2, got.argon2)
		same("unlock", r.Unlock, got.unlock)
		same("halves", r.Halves, got.seeds)
		for version, kek := range got.keks {
			same("KEK", s.KEKs[fmt.Sprint(version)], kek)
		}
		if !slices.Equal(vectorItems(got), s.Items) {
			t.Errorf("items are %+v, want %+v", vectorItems(got), s.Items)
		}
	}
}

func vectorItems(o *opened) (out []vectorItem) {
	for _, i := range o.items {
		out = append(out, vectorItem{i.Item.String(), i.Revision.String(), b64(i.DEK), i.Meta, b64(i.Secret)})
	}
	return out
}

func TestVectorsWithAFault(t *testing.T) {
	o, s := loadVectors(t)
	f := s.Readers[0].factors(t)
	f.LastDeks = o.deks
	want := map[string]fault{}
	for _, fault := range faults(newWorld(t)) {
		if fault.name != "" {
			want[fault.file()] = fault
		}
	}
	for _, path := range must(filepath.Glob(filepath.Join(vectors, "faults", "*")))(t) {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			object, expect, data := parseVector(t, must(os.ReadFile(path))(t))
			known, ok := want[name]
			if !ok || known.object != object || known.expect != expect {
				t.Fatalf("no fault makes this vector: %s, %s", object, expect)
			}
			delete(want, name)
			_, err := read(o.with(object, data), f.before(object))
			wantStage(t, err, expect)
		})
	}
	for name := range want {
		t.Errorf("vector %s is missing", name)
	}
}

func (f fault) file() string { return strings.ReplaceAll(f.object, "+", "-") + "-" + f.name + ".txt" }

func parseVector(t *testing.T, b []byte) (object, expect string, data []byte) {
	t.Helper()
	head, data, ok := bytes.Cut(b, []byte("\n\n"))
	first, second, both := strings.Cut(string(head), "\n")
	object, isObject := strings.CutPrefix(first, "object: ")
	expect, isExpect := strings.CutPrefix(second, "expect: ")
	if !ok || !both || !isObject || !isExpect {
		t.Fatal("not a vector")
	}
	return object, expect, data
}

// write replaces the vectors with those of a new world.
func write(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	o := w.objects()
	var s vectorSecrets
	for _, p := range []*person{w.owner, w.member} {
		f := p.factors(w)
		got := must(read(o, f))(t)
		s.Readers = append(s.Readers, vectorReader{
			Vault: w.m.Vault().String(), Identity: p.id.String(), Passphrase: p.passphrase, Share: b64(p.share),
			Argon2: b64(got.argon2), Unlock: b64(got.unlock), Halves: b64(got.seeds),
			MembersPin: f.MembersPin, DeksPin: f.DeksPin,
		})
		s.KEKs = map[string]string{"2": b64(got.keks[2])}
		s.Items = vectorItems(got)
	}
	secrets := must(json.MarshalIndent(s, "", "  "))(t)
	files := map[string][]byte{
		"vault.jsonl": o.vault, "members.jsonl": o.members, "deks.jsonl": o.deks, "secrets.json": append(secrets, '\n'),
	}
	for _, f := range faults(w) {
		if f.name != "" {
			files["faults/"+f.file()] = fmt.Appendf(nil, "object: %s\nexpect: %s\n\n%s", f.object, f.expect, f.data)
		}
	}
	if err := os.RemoveAll(filepath.Join(vectors, "faults")); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		path := filepath.Join(vectors, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
