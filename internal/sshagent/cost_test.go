package sshagent

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
	"vigil/internal/unixsock"
)

// SignThrough is never called.
func (instant) SignThrough(context.Context, uint64, []byte, string, *os.File, *os.File, []byte) ([]byte, error) {
	return nil, ErrNoKey
}

// instant is a Signer that costs nothing, to measure the front only.
type instant struct{ signature []byte }

func (s instant) Sign(_ context.Context, _ uint64, _ []byte, _ uint32, dst []byte) ([]byte, error) {
	return append(dst, s.signature...), nil
}

// signingWorld has one key that signs at once, and the request for it.
func signingWorld(t testing.TB) (w *world, request []byte) {
	w = newWorld(t, nil)
	k := w.vaultKey("k", newKey(t))
	k.Signer = instant{make([]byte, 83)}
	k.Approve = policy.ApproveForwarded
	w.SetVault("main", []VaultKey{k})
	return w, signRequest(k.Blob, userauth("a session id of thirty-two bytes", "root", k.Blob, newHost(t)), 0)
}

// socketPair returns the clients' ends of n Unix sockets whose other ends w serves.
func socketPair(t testing.TB, w *world, n int) []net.Conn {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer listener.Close()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i], err = net.Dial("unix", listener.Addr().String())
		must(t, err)
		server, err := listener.Accept()
		must(t, err)
		stream, err := unixsock.NewStream(server.(*net.UnixConn))
		must(t, err)
		w.serve(stream)
		t.Cleanup(func() { conns[i].Close() })
	}
	return conns
}

func TestASignatureCostsNoAllocation(t *testing.T) {
	w, request := signingWorld(t)
	s := &session{agent: w.Agent, conn: &script{}}
	n := testing.AllocsPerRun(200, func() {
		conn := s.conn.(*script)
		conn.in.Reset(request)
		conn.out.Reset()
		number, size, err := s.readHeader()
		if err == nil {
			err = s.answerPlain(t.Context(), number, size)
		}
		if err != nil || !bytes.HasPrefix(conn.out.Bytes(), []byte{0, 0, 0, 88, agentproto.MsgSignResponse}) {
			t.Fatalf("%v, replied %x", err, conn.out.Bytes())
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestIdleConnectionsCostLittle(t *testing.T) {
	w, request := signingWorld(t)
	const n = 200
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := inUse()
	conns := socketPair(t, w, n)
	for _, c := range conns { // each has been used once, and then is idle
		if got := exchange(t, c, request); got[0] != agentproto.MsgSignResponse {
			t.Fatalf("got %x", got)
		}
	}
	each := (int64(inUse()) - int64(before)) / n
	t.Logf("%d bytes a connection, both ends of it", each)
	if each > 16<<10 {
		t.Fatalf("an idle connection costs %d bytes", each)
	}
}

func BenchmarkSign(b *testing.B) {
	w, request := signingWorld(b)
	conn := socketPair(b, w, 1)[0]
	reply := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(reply); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList1000(b *testing.B) {
	w := newWorld(b, nil)
	var keys []VaultKey
	for range 1000 {
		keys = append(keys, w.vaultKey("a comment of some length", newKey(b)))
	}
	w.SetVault("main", keys)
	conn := socketPair(b, w, 1)[0]
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, conn, frame(agentproto.MsgRequestIdentities, nil))
	}
}

func BenchmarkAddTo1000(b *testing.B) {
	w := newWorld(b, nil)
	for range 1000 {
		id, err := w.newAdded(Added{Blob: signerOf(b, newKey(b)).PublicKey().Marshal()}, &policy.Path{})
		must(b, err)
		_, err = w.replaceAdded(id, &(&session{}).path, 0)
		must(b, err)
	}
	id := w.current.Load().ids[0]
	for b.Loop() {
		_, err := w.replaceAdded(id, &(&session{}).path, 0)
		must(b, err)
	}
}
