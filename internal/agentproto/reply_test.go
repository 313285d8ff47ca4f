package agentproto

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestStatusAndQueryReplies(t *testing.T) {
	if got := AppendStatus(nil, MsgFailure); !bytes.Equal(got, []byte{0, 0, 0, 1, 5}) {
		t.Fatalf("failure %x", got)
	}
	got := AppendQueryReply([]byte("x"), ExtSessionBind)
	want := append([]byte("x\x00\x00\x00\x26\x1d"), body("query", "session-bind@openssh.com")...)
	if !bytes.Equal(got, want) {
		t.Fatalf("query reply %q, want %q", got, want)
	}
}

func TestSignReply(t *testing.T) {
	frame := AppendSignReplyHeader(nil)
	if len(frame) != SignReplyHeader {
		t.Fatalf("header of %d bytes", len(frame))
	}
	frame = append(frame, "signature"...)
	FinishSignReply(frame)
	if want := append([]byte{0, 0, 0, 14, MsgSignResponse}, body("signature")...); !bytes.Equal(frame, want) {
		t.Fatalf("got %x, want %x", frame, want)
	}
}

func TestListing(t *testing.T) {
	var l Listing
	if want := []byte{0, 0, 0, 5, MsgIdentitiesAnswer, 0, 0, 0, 0}; !bytes.Equal(l.Frame(), want) {
		t.Fatalf("empty listing %x", l.Frame())
	}
	l.Add([]byte("key"), "comment")
	want := append([]byte{0, 0, 0, 23, MsgIdentitiesAnswer, 0, 0, 0, 1}, body("key", "comment")...)
	if !bytes.Equal(l.Frame(), want) {
		t.Fatalf("got %x, want %x", l.Frame(), want)
	}
}

func TestListingStopsAtWhatClientsAccept(t *testing.T) {
	var l Listing
	for i := range MaxIdentities + 10 {
		if added := l.Add([]byte("k"), ""); added != (i < MaxIdentities) {
			t.Fatalf("key %d added: %v", i, added)
		}
	}
	l = Listing{}
	big := strings.Repeat("c", 100<<10)
	if !l.Add([]byte("1"), big) || !l.Add([]byte("2"), big) || l.Add([]byte("3"), big) || !l.Add([]byte("4"), "") {
		t.Fatal("a key that doesn't fit must be left out, and only that")
	}
	if n := binary.BigEndian.Uint32(l.Frame()); n > MaxMessage || int(n)+4 != len(l.Frame()) {
		t.Fatalf("length %d of %d bytes", n, len(l.Frame()))
	}
	l = Listing{}
	if !l.Add(nil, strings.Repeat("c", MaxMessage-5-8)) {
		t.Fatal("a listing of exactly the most bytes must do")
	}
	l = Listing{}
	if l.Add(nil, strings.Repeat("c", MaxMessage-5-8+1)) {
		t.Fatal("a listing one byte too long")
	}
}
