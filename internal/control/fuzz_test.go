package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
)

// refused is an operation that always refuses.
func refused[Q, R any, P interface {
	*Q
	Request[R]
}]() Operation {
	return Handle(func(context.Context, *Call, P) (*R, error) { return nil, Errorf(CodeRefused, "", "refused") })
}

// every returns a server that decodes every request.
func every() *Server {
	return NewServer(slog.New(slog.DiscardHandler),
		refused[VersionRequest, VersionReply](),
		refused[StopRequest, StopReply](),
		refused[LockRequest, LockReply](),
		refused[StatusRequest, StatusReply](),
		refused[ReadyRequest, ReadyReply](),
		refused[DoctorRequest, DoctorReply](),
		refused[ListRequest, ListReply](),
		refused[ShowRequest, ShowReply](),
		refused[InitRequest, InitReply](),
		refused[UnlockRequest, UnlockReply](),
		refused[AddRequest, AddReply](),
		refused[GenerateRequest, GenerateReply](),
		refused[RemoveRequest, RemoveReply](),
		refused[EditRequest, EditReply](),
		refused[ExportRequest, ExportReply](),
		refused[WhyRequest, WhyReply](),
		refused[GrantsRequest, GrantsReply](),
		refused[RefreshRequest, RefreshReply](),
		refused[RotateRequest, RotateReply](),
		refused[IdentityRequestRequest, IdentityRequestReply](),
		refused[IdentityReadRequest, IdentityReadReply](),
		refused[IdentityAdmitRequest, IdentityAdmitReply](),
		refused[IdentityListRequest, IdentityListReply](),
		refused[IdentityRemoveRequest, IdentityRemoveReply](),
		refused[PassphraseRequest, PassphraseReply](),
		refused[MasterSetRequest, MasterSetReply](),
		refused[BackendSetRequest, BackendSetReply](),
		refused[VerifyRequest, VerifyReply](),
		refused[HistoryRequest, HistoryReply](),
		refused[RestoreRequest, RestoreReply](),
		refused[KeyringRestoreRequest, KeyringRestoreReply](),
	)
}

// FuzzControl feeds bytes to the framing and to strict decoding: the encoding of a
// decoded request must decode again.
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
	server := every()
	f.Fuzz(func(t *testing.T, b []byte) {
		var q question
		if decode(b, &q) != nil {
			return
		}
		o, err := server.decode(q)
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
		if _, err := server.decode(question{Op: q.Op, Body: body}); err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
	})
}
