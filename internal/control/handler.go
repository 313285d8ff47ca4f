package control

import (
	"context"

	"vigil/internal/unixsock"
)

// Handler answers requests. Its methods are called from many goroutines at
// once. The context ends when the client goes away or the server stops.
//
// The files of a request are open when a method is called and are closed by the
// server when it returns; a method that keeps one sets the request's field to nil.
// The front never reads them: it passes them to the opener.
type Handler interface {
	Version(context.Context, *Call, *VersionRequest) (*VersionReply, error)
	// Stop locks, and begins the daemon's end; the daemon exits after the reply.
	Stop(context.Context, *Call, *StopRequest) (*StopReply, error)
	Lock(context.Context, *Call, *LockRequest) (*LockReply, error)
	Status(context.Context, *Call, *StatusRequest) (*StatusReply, error)
	Doctor(context.Context, *Call, *DoctorRequest) (*DoctorReply, error)
	List(context.Context, *Call, *ListRequest) (*ListReply, error)
	Show(context.Context, *Call, *ShowRequest) (*ShowReply, error)
	Init(context.Context, *Call, *InitRequest) (*InitReply, error)
	Unlock(context.Context, *Call, *UnlockRequest) (*UnlockReply, error)
	Add(context.Context, *Call, *AddRequest) (*AddReply, error)
	Generate(context.Context, *Call, *GenerateRequest) (*GenerateReply, error)
	Remove(context.Context, *Call, *RemoveRequest) (*RemoveReply, error)
	Edit(context.Context, *Call, *EditRequest) (*EditReply, error)
	Export(context.Context, *Call, *ExportRequest) (*ExportReply, error)
	Why(context.Context, *Call, *WhyRequest) (*WhyReply, error)
	Refresh(context.Context, *Call, *RefreshRequest) (*RefreshReply, error)
	MembershipHandler
	Verify(context.Context, *Call, *VerifyRequest) (*VerifyReply, error)
	History(context.Context, *Call, *HistoryRequest) (*HistoryReply, error)
	Restore(context.Context, *Call, *RestoreRequest) (*RestoreReply, error)
	KeyringRestore(context.Context, *Call, *KeyringRestoreRequest) (*KeyringRestoreReply, error)
}

// Call is what a Handler knows of a request beside its body.
type Call struct {
	// Peer is the process at the other end; its user is this one or root.
	Peer unixsock.Peer
	ask  func(context.Context, Ask) (Answer, error)
}

// Ask asks the person at vigilctl and waits for the answer. Without a terminal
// there, the answer is an *Error of CodeRefused.
func (c *Call) Ask(ctx context.Context, a Ask) (Answer, error) { return c.ask(ctx, a) }

// dispatch is the method of h that answers each operation.
var dispatch = map[Op]func() operation{
	OpVersion:  op(Handler.Version),
	OpStop:     op(Handler.Stop),
	OpLock:     op(Handler.Lock),
	OpStatus:   op(Handler.Status),
	OpDoctor:   op(Handler.Doctor),
	OpList:     op(Handler.List),
	OpShow:     op(Handler.Show),
	OpInit:     op(Handler.Init),
	OpUnlock:   op(Handler.Unlock),
	OpAdd:      op(Handler.Add),
	OpGenerate: op(Handler.Generate),
	OpRemove:   op(Handler.Remove),
	OpEdit:     op(Handler.Edit),
	OpExport:   op(Handler.Export),
	OpWhy:      op(Handler.Why),
	OpRefresh:  op(Handler.Refresh),

	OpRotate:          op(Handler.Rotate),
	OpIdentityRequest: op(Handler.IdentityRequest),
	OpIdentityRead:    op(Handler.IdentityRead),
	OpIdentityAdmit:   op(Handler.IdentityAdmit),
	OpIdentityList:    op(Handler.IdentityList),
	OpIdentityRemove:  op(Handler.IdentityRemove),
	OpPassphrase:      op(Handler.Passphrase),
	OpMasterSet:       op(Handler.MasterSet),
	OpBackendSet:      op(Handler.BackendSet),

	OpVerify:         op(Handler.Verify),
	OpHistory:        op(Handler.History),
	OpRestore:        op(Handler.Restore),
	OpKeyringRestore: op(Handler.KeyringRestore),
}

// operation is one request, decoded, and the method that answers it.
type operation struct {
	req  request
	call func(context.Context, Handler, *Call) (any, error)
}

// op turns a method of Handler into what decodes its request and calls it.
func op[Q, R any, P interface {
	*Q
	request
}](method func(Handler, context.Context, *Call, P) (*R, error)) func() operation {
	return func() operation {
		req := P(new(Q))
		return operation{req, func(ctx context.Context, h Handler, c *Call) (any, error) {
			return method(h, ctx, c, req)
		}}
	}
}
