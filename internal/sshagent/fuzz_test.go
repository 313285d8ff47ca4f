package sshagent

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/wire"
)

// script is a connection whose peer sends everything at once.
type script struct {
	net.Conn // nil: the methods below are all that are used
	in       bytes.Reader
	out      bytes.Buffer
}

func (s *script) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *script) Close() error                     { return nil }
func (s *script) AwaitHangup() error               { return os.ErrDeadlineExceeded }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzServe sends any bytes. The connection must end without a panic, and with one
// complete reply for each complete message.
func FuzzServe(f *testing.F) {
	for _, m := range readMalformed(f) {
		f.Add(m.frame)
	}
	w := newWorld(f, nil)
	w.keeper.passphrase = []byte("never locked by a fuzzer")
	key, restrictedKey := newKey(f), newKey(f)
	h := newHost(f)
	limited := w.vaultKey("limited", restrictedKey)
	limited.To = []agentproto.Destination{direct(h)}
	w.SetVault("main", []VaultKey{w.vaultKey("vault", key), limited})
	public, limitedPublic := signerOf(f, key).PublicKey(), signerOf(f, restrictedKey).PublicKey()
	f.Add(signRequest(public.Marshal(), []byte("data"), 0))
	bound := func(b agentproto.SessionBind) []byte {
		return frame(agentproto.MsgExtension, append(wire.AppendString(nil, agentproto.ExtSessionBind), bindData(b)...))
	}
	f.Add(append(bound(h.bind("1", false)),
		signRequest(limitedPublic.Marshal(), login("1", "root", limitedPublic, h), 0)...))
	f.Add(append(bound(h.bind("1", true)), frame(agentproto.MsgRequestIdentities, nil)...))
	f.Add(frame(agentproto.MsgRemoveIdentity, wire.AppendString(nil, public.Marshal())))
	f.Fuzz(func(t *testing.T, in []byte) {
		conn := &script{in: *bytes.NewReader(in)}
		if err := w.Serve(context.Background(), conn, Peer{}); err == ErrPanic {
			t.Fatal(err)
		}
		want := 0
		for rest := in; len(rest) > 4; want++ {
			n := binary.BigEndian.Uint32(rest)
			if n == 0 || n > agentproto.MaxMessage || int(n) > len(rest)-4 {
				break
			}
			rest = rest[4+n:]
		}
		got := 0
		for ; conn.out.Len() > 0; got++ {
			var length [4]byte
			_, err := io.ReadFull(&conn.out, length[:])
			must(t, err)
			n := int(binary.BigEndian.Uint32(length[:]))
			if n == 0 || n > agentproto.MaxMessage || len(conn.out.Next(n)) != n {
				t.Fatalf("a reply of length %d", n)
			}
		}
		if got != want {
			t.Fatalf("%d replies to %d messages", got, want)
		}
		must(t, w.DropAdded(context.Background())) // a key may have been added
		if len(w.Keys()) != 2 {
			t.Fatal("the vault changed")
		}
	})
}
