package control

import (
	"context"
	"os"

	"vigil/internal/unixsock"
)

// An operation is a type of this package and a function of the daemon: the type
// …Request has its name, its parameters, its files and the type of its reply, and
// Handle joins it to the function.

// Op names an operation; it is the "op" member of a request.
type Op string

// These operations are the same in every build for ever, so that a vigilctl of
// another build can still lock, stop and replace a daemon.
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

// request is what client and server need of every request.
type request interface {
	op() Op
	// files lists the descriptors that may travel with the request.
	files() []fileSlot
}

// InVault is a request that names a vault.
type InVault interface{ vault() string }

// VaultOf returns the name of the vault that a request is for; "" is the default one.
func VaultOf(r InVault) string { return r.vault() }

// OfKey is a request that names a key; without a vault's name, it's of any.
type OfKey interface {
	InVault
	key() string
}

// KeyOf returns the key that a request names.
func KeyOf(r OfKey) string { return r.key() }

// asks is embedded in a request that is answered by an R. One that takes files has
// a files of its own.
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

// Call is what is known of a request beside its body.
type Call struct {
	// Peer is the process at the other end; its user is this one or root.
	Peer unixsock.Peer
	ask  func(context.Context, Ask) (Answer, error)
}

// Ask asks the person at vigilctl and waits for the answer. Without a terminal
// there, the answer is an *Error of CodeRefused.
func (c *Call) Ask(ctx context.Context, a Ask) (Answer, error) { return c.ask(ctx, a) }

// Operation is what a server answers.
type Operation struct {
	op  Op
	new func() operation
}

// Handle has a function answer the requests of its type. It is called from many
// goroutines at once; its context ends when the client goes away or the server
// stops.
//
// The files of a request are open when the function is called and are closed by
// the server when it returns; one that keeps a file sets the request's field to
// nil. The front never reads them: it passes them to the opener.
func Handle[Q, R any, P interface {
	*Q
	Request[R]
}](with func(context.Context, *Call, P) (*R, error)) Operation {
	return Operation{P(new(Q)).op(), func() operation {
		req := P(new(Q))
		return operation{req, func(ctx context.Context, c *Call) (any, error) { return with(ctx, c, req) }}
	}}
}

// operation is one request, decoded, and what answers it.
type operation struct {
	req  request
	call func(context.Context, *Call) (any, error)
}
