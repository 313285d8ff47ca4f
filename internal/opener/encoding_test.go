package opener_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/iotest"

	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/opener"
)

func TestMessagesReadBackAsWritten(t *testing.T) {
	for _, m := range []any{
		&opener.Answer{Text: "t"},
		&opener.Request{Job: "unlock", Interactive: true, Seen: opener.Seen{Kept: backend.Keyring{Deks: []byte("d")}}},
		&opener.Unlock{Place: opener.Place{Name: "n", Vault: id.Vault{2}}, Passphrase: 1, Keeper: 2},
		&backend.Keyring{Members: bytes.Repeat([]byte{0, 255}, 100_000), MembersVersion: "1"},
		&opener.Reply{Error: &opener.Error{Kind: opener.Revoked, Message: "gone", Next: "ask", RequestID: "r"}},
		&opener.Put{Object: backend.Deks, Data: []byte{}, Expect: "v"},
	} {
		var b bytes.Buffer
		if err := opener.WriteMessage(&b, m); err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface()
		if err := opener.ReadMessage(iotest.OneByteReader(&b), got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("read %+v, wrote %+v", got, m)
		}
	}
}

func TestMessagesThatAreRefused(t *testing.T) {
	frame := func(n uint32, body string) []byte { return append(binary.BigEndian.AppendUint32(nil, n), body...) }
	for name, b := range map[string][]byte{
		"not JSON":            frame(3, "abc"),
		"empty":               frame(0, ""),
		"two values":          frame(4, "{}{}"),
		"a number for a text": frame(10, `{"text":1}`),
	} {
		t.Run(name, func(t *testing.T) {
			var h opener.Answer
			if err := opener.ReadMessage(bytes.NewReader(b), &h); err == nil {
				t.Fatalf("read %+v", h)
			}
		})
	}
	for name, object := range map[string][]byte{
		"without its object":     {},
		"with half of it":        frame(10, "\x01half"),
		"with another beginning": frame(2, "\x02x"),
	} {
		t.Run(name, func(t *testing.T) {
			var put opener.Put
			if err := opener.ReadMessage(bytes.NewReader(append(frame(2, "{}"), object...)), &put); err == nil {
				t.Fatalf("read %+v", put)
			}
		})
	}
}

func TestErrorKinds(t *testing.T) {
	err := fmt.Errorf("unlock: %w", &opener.Error{Kind: opener.Revoked, Message: "gone"})
	if opener.KindOf(err) != opener.Revoked || opener.KindOf(errors.New("x")) != opener.Failed || opener.KindOf(nil) != "" {
		t.Fatal("wrong kinds")
	}
	if !errors.Is(err, &opener.Error{Kind: opener.Revoked}) || errors.Is(err, &opener.Error{Kind: opener.Denied}) {
		t.Fatal("errors.Is doesn't compare kinds")
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, m := range []any{
		&backend.Keyring{Members: []byte("m"), DeksVersion: "1"},
		&opener.Reply{Error: &opener.Error{Kind: opener.Damaged, Message: "m"}},
		&opener.Request{Job: "unlock", Interactive: true},
		&opener.Unlock{Passphrase: 1, Keeper: 2},
		&opener.Put{Data: []byte("d")},
		&opener.Export{Line: []byte("l")},
	} {
		var b bytes.Buffer
		if err := opener.WriteMessage(&b, m); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 2, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		readAgain[opener.Request](t, b)
		readAgain[opener.Reply](t, b)
		readAgain[opener.Unlock](t, b)
		readAgain[opener.Put](t, b)
		readAgain[opener.Changed](t, b)
	})
}

func readAgain[T any](t *testing.T, b []byte) {
	t.Helper()
	var v T
	if opener.ReadMessage(bytes.NewReader(b), &v) == nil {
		again(t, v)
	}
}

// again encodes a decoded message and decodes it once more.
func again[T any](t *testing.T, v T) {
	t.Helper()
	var b bytes.Buffer
	if err := opener.WriteMessage(&b, &v); err != nil {
		t.Fatal(err)
	}
	var got T
	if err := opener.ReadMessage(&b, &got); err != nil {
		t.Fatalf("what was read can't be read again: %v", err)
	}
}
