package control

import (
	"context"
	"os"

	"vigil/internal/unixsock"
)

// An operation is a type of this package and a function of the daemon. The type, …Request,
// defines its name, parameters, files and reply; Handle connects it to the function.

// Op names an operation; it is the "op" member of a request.
type Op string

// These operations never change, so that any build's vigilctl can lock, stop and
// replace a daemon.
const (
	OpVersion Op = "version"
	OpStop    Op = "stop"
	OpLock    Op = "lock"
)

// A Request is one of the …Request types of this package; R is its reply.
type Request[R any] interface {
	request
	reply() *R
}

// request is what client and server need of any request.
type request interface {
	op() Op
	files() []fileSlot // the descriptors that may come with the request
}

// InVault is a request that names a vault.
type InVault interface{ vault() string }

// VaultOf returns the name of a request's vault; "" is the default one.
func VaultOf(r InVault) string { return r.vault() }

// OfKey is a request that names a key; with an empty vault name, of any vault.
type OfKey interface {
	InVault
	key() string
}

// KeyOf returns the key that a request names.
func KeyOf(r OfKey) string { return r.key() }

// asks is embedded in a request whose reply is an R. A request with files defines its
// own files method.
type asks[R any] struct{}

func (asks[R]) reply() *R         { return new(R) }
func (asks[R]) files() []fileSlot { return nil }

// fileSlot is a place for a descriptor in a request.
type fileSlot struct {
	name     string
	file     **os.File
	required bool
}

func required(name string, file **os.File) fileSlot { return fileSlot{name, file, true} }
func optional(name string, file **os.File) fileSlot { return fileSlot{name, file, false} }

// Call is what is known of a request apart from its body.
type Call struct {
	// Peer is the process at the other end; it runs as this user or root.
	Peer unixsock.Peer
	ask  func(context.Context, Ask) (Answer, error)
}

// Ask asks the person at vigilctl and waits for the answer. Without a terminal, the
// error is an *Error of CodeRefused.
func (c *Call) Ask(ctx context.Context, a Ask) (Answer, error) { return c.ask(ctx, a) }

// Operation is an operation that a server answers.
type Operation struct {
	op  Op
	new func() operation
}

// Handle returns an Operation that calls a function for requests of its type. The
// function must be safe for concurrent use. Its context ends when the client goes
// away or the server stops.
//
// The server closes the request's files when the function returns. To keep a file,
// the function sets its field to nil. The front never reads files: it passes them to
// the opener.
func Handle[Q, R any, P interface {
	*Q
	Request[R]
}](with func(context.Context, *Call, P) (*R, error)) Operation {
	return Operation{P(new(Q)).op(), func() operation {
		req := P(new(Q))
		return operation{req: req, call: func(ctx context.Context, c *Call) (any, error) { return with(ctx, c, req) }}
	}}
}

// operation is one decoded request and its function.
type operation struct {
	req request
	// progress: the client wants to know how much is done.
	progress bool
	call     func(context.Context, *Call) (any, error)
}
