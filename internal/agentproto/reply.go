package agentproto

import (
	"encoding/binary"

	"vigil/internal/wire"
)

// putLength fills in the length field of a frame: a length, then the message.
func putLength(frame []byte) {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
}

// AppendStatus appends a reply that consists of its number only: MsgFailure,
// MsgSuccess or MsgExtensionFailure.
func AppendStatus(b []byte, number byte) []byte { return append(b, 0, 0, 0, 1, number) }

// SignReplyHeader is how many bytes of a MsgSignResponse come before the signature
// blob: two lengths and the number.
const SignReplyHeader = 4 + 1 + 4

// AppendSignReplyHeader appends a MsgSignResponse up to its signature blob. The
// caller appends that blob, and FinishSignReply completes the frame.
func AppendSignReplyHeader(b []byte) []byte {
	return append(b, 0, 0, 0, 0, MsgSignResponse, 0, 0, 0, 0)
}

// FinishSignReply fills in the lengths of a frame that AppendSignReplyHeader
// began and a signature blob ends.
func FinishSignReply(frame []byte) {
	putLength(frame)
	binary.BigEndian.PutUint32(frame[5:], uint32(len(frame)-SignReplyHeader))
}

// AppendQueryReply appends the reply to ExtQuery, listing names.
func AppendQueryReply(b []byte, names ...string) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, MsgExtensionResponse)
	b = wire.AppendString(b, ExtQuery)
	for _, name := range names {
		b = wire.AppendString(b, name)
	}
	putLength(b[start:])
	return b
}

// listHeader is how many bytes of an MsgIdentitiesAnswer come before the first key.
const listHeader = 4 + 1 + 4

// Listing builds a MsgIdentitiesAnswer that clients accept. The zero value is an
// empty listing.
type Listing struct {
	frame []byte
	keys  uint32
}

// Add appends a key and reports whether it did: false when the listing would
// have more than MaxIdentities keys or MaxMessage bytes.
func (l *Listing) Add(blob []byte, comment string) bool {
	if l.frame == nil {
		l.frame = make([]byte, listHeader, 512)
	}
	size := len(l.frame) + 4 + len(blob) + 4 + len(comment)
	if l.keys == MaxIdentities || size-4 > MaxMessage {
		return false
	}
	l.frame = wire.AppendString(l.frame, blob)
	l.frame = wire.AppendString(l.frame, comment)
	l.keys++
	return true
}

// Frame returns the complete reply with its length. A later Add may change it.
func (l *Listing) Frame() []byte {
	if l.frame == nil {
		l.frame = make([]byte, listHeader)
	}
	putLength(l.frame)
	l.frame[4] = MsgIdentitiesAnswer
	binary.BigEndian.PutUint32(l.frame[5:], l.keys)
	return l.frame
}
