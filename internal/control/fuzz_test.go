package control

import (
	"encoding/json"
	"testing"
)

// FuzzControl feeds bytes to the framing and to strict decoding: whatever is
// taken for a request must encode to one that is taken again.
func FuzzControl(f *testing.F) {
	for _, seed := range []string{
		`{"op":"version"}`,
		`{"op":"unlock","files":["passphrase"],"body":{"vault":"a"}}`,
		`{"op":"add","files":["key_file","key_passphrase","certificate"],"body":{"name":"n","hosts":["h"],"tags":[]}}`,
		`{"op":"edit","body":{"key":"k","name":"","hosts":[],"confirm":false,"destinations":[{"from":{"host":"a","keys":[{"blob":"AA=="}]},"to":{"user":"u*","host":"b"}}]}}`,
		`{"op":"init","files":["passphrase"],"body":{"kdf":{"memory_mib":256},"unlock":true}}`,
		`{"op":"why","body":{"limit":-1}}`,
		`{"answer":{"yes":true}}`,
		`{"error":{"code":"refused","message":"m"}}`,
		`{"op":"lock","body":{"vault":"\ud800"}}`,
		`{"op":"stop"} {}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q question
		if decode(b, &q) != nil {
			return
		}
		o, err := decodeOperation(q)
		if err != nil {
			return
		}
		if err := o.adopt(q.Files, &frame{}); err != nil {
			wantCode(t, err, CodeUsage)
		}
		body, err := json.Marshal(o.req)
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		if _, err := decodeOperation(question{Op: q.Op, Body: body}); err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
	})
}
