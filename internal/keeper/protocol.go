// Package keeper starts keepers, the processes that hold keys, and talks to them.
// It is the front's end, and the protocol between both; the process itself is
// package server, which the front doesn't link.
//
// A message (package ipc) is an [Op] or a [Status], then a body in the types of RFC
// 4251. The front sends one request on a connection and waits for its reply before
// it sends the next, so a connection needs no request numbers and a worker of the
// keeper no queue. On the first connection hellos come first, and then a reply
// without a request: the keeper's [Report].
//
// A body is the encoding of one type, whose methods and functions here write and
// read it. What is read aliases the message, unless it says otherwise. No request
// returns a secret.
package keeper

import (
	"fmt"

	"vigil/internal/ipc"
	"vigil/internal/wire"
)

// Role is the first argument that makes vigild run as a keeper (server.Main). It
// is no flag: people never type it.
const Role = "keeper-role"

// Op names a request.
type Op byte

// The requests, each with its body and, behind the arrow, the body of its reply.
const (
	OpSign      Op = iota + 1 // SignRequest → signature blob
	OpAdd                     // body of SSH_AGENTC_ADD_IDENTITY → Added
	OpAddBound                // body of SSH_AGENTC_ADD_ID_CONSTRAINED → Added
	OpRemove                  // Number of a key
	OpRemoveAll               //
	OpLock                    // body of SSH_AGENTC_LOCK
	OpUnlock                  // body of SSH_AGENTC_UNLOCK
	OpAttach                  // AttachKind, then a descriptor → Identity or Draft
	OpFile                    // text of a vault file
	OpFileDelta               // Delta
	OpLoad                    // LoadRequest → Loaded
	OpSeal                    // SealRequest → Sealed
	OpVerify                  // → Problems
	OpSealLine                // SealLineRequest → Sealed
	OpCollect                 // Number, the time in Unix seconds → deks, or nothing
	OpDropDraft               // Number of a draft
	OpDeks                    // DeksRequest → DeksReply
	OpRotation                // RotationStep → members or deks, or nothing
	OpDeadlines               // Deadlines
	OpStats                   // → Stats
)

// Secret reports whether the body of a request is a secret, of which no part may
// reach the heap.
func (o Op) Secret() bool {
	switch o {
	case OpAdd, OpAddBound, OpLock, OpUnlock:
		return true
	}
	return false
}

const (
	// HeaderLen is the size in bytes of a message's length and its op or status.
	HeaderLen = ipc.HeaderLen + 1
	// MaxMessage bounds a message in bytes, without its length: a vault file, or
	// both keyring objects.
	MaxMessage = 512 << 20
	// SmallMessage is the size in bytes of the buffer that each end keeps for a
	// connection: a signature request with its reply (userauth requests have about
	// 300 bytes, git commits and certificates a few thousand).
	SmallMessage = 8 << 10
)

// Number is the body of a request that says no more than one.
type Number uint64

// Append appends the encoding of n, 8 bytes, to b.
func (n Number) Append(b []byte) []byte { return wire.AppendUint64(b, uint64(n)) }

// ReadNumber reads a number. The error is ErrBadRequest.
func ReadNumber(body []byte) (uint64, error) {
	r := wire.NewReader(body)
	return r.Uint64(), requestEnd(&r)
}

// requestEnd returns the error of a request that was read by r to its end.
func requestEnd(r *wire.Reader) error {
	if r.End() != nil {
		return ErrBadRequest
	}
	return nil
}

// replyEnd is requestEnd for a reply, of which what says what it is.
func replyEnd(r *wire.Reader, what string) error {
	if err := r.End(); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}
