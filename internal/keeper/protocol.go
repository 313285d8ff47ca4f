// Package keeper starts keepers, the processes that hold keys, and talks to them. It
// is the front's end and the protocol. The process itself is package server, which
// the front doesn't link.
//
// A message (package ipc) is an [Op] or a [Status], then a body in the types of RFC
// 4251. On each connection, the front waits for the reply before it sends the next
// request, so requests need no numbers and workers no queues. The first connection
// starts with hellos and then a reply without a request: the keeper's [Report].
//
// A body is the encoding of one type, which has the methods and functions for it here.
// Decoded values alias the message unless documented otherwise. No reply contains a secret.
package keeper

import (
	"fmt"

	"vigil/internal/ipc"
	"vigil/internal/wire"
)

// Role is the first argument that makes vigild run as a keeper (server.Main). It
// isn't documented as a flag, because people never type it.
const Role = "keeper-role"

// Op names a request.
type Op byte

// The requests, each with its body and, behind the arrow, the body of its reply.
const (
	OpSign        Op = iota + 1 // SignRequest → signature blob
	OpAdd                       // body of SSH_AGENTC_ADD_IDENTITY → Added
	OpAddBound                  // body of SSH_AGENTC_ADD_ID_CONSTRAINED → Added
	OpRemove                    // Number of a key
	OpRemoveAll                 //
	OpLock                      // body of SSH_AGENTC_LOCK
	OpUnlock                    // body of SSH_AGENTC_UNLOCK
	OpAttach                    // AttachKind, then a descriptor → Identity or Draft
	OpFile                      // text of a vault file
	OpFileDelta                 // Delta
	OpLoad                      // LoadRequest → Loaded
	OpSeal                      // SealRequest → Sealed
	OpVerify                    // Number of the first revision → Verified
	OpSealLine                  // SealLineRequest → Sealed
	OpCollect                   // Number, the time in Unix seconds → deks, or nothing
	OpDropDraft                 // Number of a draft
	OpDeks                      // DeksRequest → DeksReply
	OpRotation                  // RotationStep → members or deks, or nothing
	OpDeadlines                 // Deadlines
	OpStats                     // → Stats
	OpSignThrough               // SignThroughRequest, then descriptors → signature blob
)

// Secret reports whether a request's body is a secret, which must not reach the heap.
func (o Op) Secret() bool {
	switch o {
	case OpAdd, OpAddBound, OpLock, OpUnlock:
		return true
	}
	return false
}

const (
	// HeaderLen is the size of a message's length and its op or status, in bytes.
	HeaderLen = ipc.HeaderLen + 1
	// MaxMessage bounds a message without its length, in bytes: a vault file, or both
	// keyring objects.
	MaxMessage = 512 << 20
	// SmallMessage is the size of each end's buffer per connection, in bytes. It fits
	// a signature request and its reply (userauth requests have about 300 bytes, git
	// commits and certificates a few thousand).
	SmallMessage = 8 << 10
)

// Number is the body of a request that is just a number.
type Number uint64

// Append appends the encoding of n, 8 bytes, to b.
func (n Number) Append(b []byte) []byte { return wire.AppendUint64(b, uint64(n)) }

// ReadNumber reads a number. The error is ErrBadRequest.
func ReadNumber(body []byte) (uint64, error) {
	r := wire.NewReader(body)
	return r.Uint64(), requestEnd(&r)
}

// requestEnd returns r's error after a request was decoded to its end.
func requestEnd(r *wire.Reader) error {
	if r.End() != nil {
		return ErrBadRequest
	}
	return nil
}

// replyEnd is requestEnd for a reply, which what names.
func replyEnd(r *wire.Reader, what string) error {
	if err := r.End(); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}
