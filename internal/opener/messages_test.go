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
		&opener.Request{Interactive: true, Unlock: &opener.Unlock{Place: opener.Place{Name: "n", Vault: id.Vault{2}}, Passphrase: 1, Keeper: 2}},
		&opener.Reply{Fetch: &backend.Keyring{Members: bytes.Repeat([]byte{0, 255}, 100_000), MembersVersion: "1"}},
		&opener.Reply{Error: &opener.Error{Kind: opener.Revoked, Message: "gone", Next: "ask", RequestID: "r"}},
		&opener.Request{Put: &opener.Put{Object: backend.Deks, Data: []byte{}, Expect: "v"}},
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
		"without its object":  frame(9, `{"put":{}}`[:9]),
	} {
		t.Run(name, func(t *testing.T) {
			var h opener.Answer
			if err := opener.ReadMessage(bytes.NewReader(b), &h); err == nil {
				t.Fatalf("read %+v", h)
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
		&opener.Reply{Fetch: &backend.Keyring{Members: []byte("m"), DeksVersion: "1"}},
		&opener.Reply{Error: &opener.Error{Kind: opener.Damaged, Message: "m"}},
		&opener.Request{Unlock: &opener.Unlock{Passphrase: 1, Keeper: 2}},
		&opener.Request{Put: &opener.Put{Data: []byte("d")}},
		&opener.Request{Export: &opener.Export{Line: []byte("l")}},
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
		var req opener.Request
		if opener.ReadMessage(bytes.NewReader(b), &req) == nil {
			req.VaultID()
			again(t, req)
		}
		var reply opener.Reply
		if opener.ReadMessage(bytes.NewReader(b), &reply) == nil {
			again(t, reply)
		}
	})
}

// again writes what was read and reads it back.
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
