package server

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"vigil/internal/buildid"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/wire"
)

// bare is a keeper process without a Client, for messages that no Client sends.
type bare struct {
	child *ipc.Child
	conns []*net.UnixConn
}

// launch starts a keeper, which waits for a hello on its first connection.
func launch(t *testing.T) *bare {
	t.Helper()
	k := &bare{}
	var theirs []*os.File
	for range 2 {
		ours, other, err := ipc.Pair()
		if err != nil {
			t.Fatal(err)
		}
		k.conns, theirs = append(k.conns, ours), append(theirs, other)
	}
	var err error
	k.child, err = ipc.Start(exe(t), []string{"vigild", keeper.Role, strconv.Itoa(len(theirs)), string(guard.SecretMemory)},
		[]string{"GOTRACEBACK=none", "GODEBUG=decoratemappings=0"}, theirs...)
	for _, f := range theirs {
		_ = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, conn := range k.conns {
			_ = conn.Close()
		}
		k.child.End(patience)
	})
	return k
}

// startBare launches a keeper and exchanges hellos.
func startBare(t *testing.T, vault id.Vault) *bare {
	t.Helper()
	k := launch(t)
	if err := ipc.Greet(k.conns[0], ipc.Front, ipc.Keeper, vault); err != nil {
		t.Fatal(err)
	}
	if status, body, err := k.reply(); err != nil || status != keeper.StatusOK {
		t.Fatalf("the keeper reports status %d, %q, %v", status, body, err)
	}
	return k
}

// ask sends a request on the first connection and returns the reply to it.
func (k *bare) ask(o keeper.Op, body []byte) (status keeper.Status, reply []byte, err error) {
	if err := ipc.Write(k.conns[0], keeper.MaxMessage, []byte{byte(o)}, body); err != nil {
		return 0, nil, err
	}
	return k.reply()
}

func (k *bare) reply() (status keeper.Status, body []byte, err error) {
	b, err := ipc.Read(k.conns[0], keeper.MaxMessage)
	if err == nil && len(b) == 0 {
		err = errors.New("a reply without a status")
	}
	if err != nil {
		return 0, nil, err
	}
	return keeper.Status(b[0]), b[1:], nil
}

// must sends a request that must succeed.
func (k *bare) must(t *testing.T, o keeper.Op, body []byte) []byte {
	t.Helper()
	status, reply, err := k.ask(o, body)
	if err != nil || status != keeper.StatusOK {
		t.Fatalf("op %d: status %d, %q, %v", o, status, reply, err)
	}
	return reply
}

// Done is closed when the process has ended.
func (k *bare) Done() <-chan struct{} { return k.child.Done() }

// TestBrokenFramesEndTheKeeper: the front is trusted, but if it breaks the protocol,
// the keeper ends, with nothing left and nothing waiting.
func TestBrokenFramesEndTheKeeper(t *testing.T) {
	frame := func(size uint32, body ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, size), body...)
	}
	for name, b := range map[string][]byte{
		"no op":                   frame(0, 0),
		"longer than any message": frame(keeper.MaxMessage+1, byte(keeper.OpSign)),
		"largest length there is": frame(1<<32-1, byte(keeper.OpAdd)),
		"a secret too large":      frame(maxAgentBody+100, append([]byte{byte(keeper.OpAdd)}, make([]byte, keeper.SmallMessage)...)...),
		"two requests at once":    append(frame(1, byte(keeper.OpStats)), frame(1, byte(keeper.OpStats))...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startBare(t, id.Vault{})
			if _, err := k.conns[0].Write(b); err != nil {
				t.Fatal(err)
			}
			ended(t, k)
			var status *exec.ExitError
			if err := k.child.Exit(); errors.As(err, &status) {
				t.Fatalf("it ended with %v", err)
			}
		})
	}
	for name, b := range map[string][]byte{
		"cut in its header": {0, 0},
		"cut in its body":   frame(100, byte(keeper.OpSign), 1, 2, 3),
		"cut in a secret":   frame(maxAgentBody, byte(keeper.OpAdd), 1, 2, 3),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startBare(t, id.Vault{})
			if _, err := k.conns[0].Write(b); err != nil {
				t.Fatal(err)
			}
			if err := k.conns[0].CloseWrite(); err != nil {
				t.Fatal(err)
			}
			ended(t, k)
		})
	}
}

// TestNonsenseIsAnswered: every op with every short body gets a reply, and the keeper
// keeps serving.
func TestNonsenseIsAnswered(t *testing.T) {
	k := startBare(t, id.Vault{1})
	for o := range keeper.Op(40) {
		if o == keeper.OpAttach {
			continue // waits for a descriptor
		}
		for _, body := range [][]byte{nil, {0}, make([]byte, 7), make([]byte, 200), slices.Repeat([]byte{0xff}, 300), slices.Repeat([]byte{0, 0, 0, 1}, 100)} {
			status, _, err := k.ask(o, body)
			if err != nil {
				t.Fatalf("op %d with % x ended the keeper: %v", o, body, err)
			}
			if o == keeper.OpLock && status == keeper.StatusOK {
				t.Fatalf("locked with % x", body)
			}
			if o == keeper.OpDeadlines && status == keeper.StatusOK {
				k.must(t, o, keeper.Deadlines{}.Append(nil))
			}
		}
	}
	s := ed25519Key(t)
	added := wire.NewReader(k.must(t, keeper.OpAdd, addBody(s, "comment")))
	sig := k.must(t, keeper.OpSign, keeper.SignRequest{Key: added.Uint64(), Data: []byte("data")}.Append(nil))
	if err := verify(s.public, []byte("data"), sig); err != nil {
		t.Fatalf("it doesn't sign any more: %v", err)
	}
}

// TestAHelloOfAnotherBuildIsRefused: the keeper sends its own hello, and ends.
func TestAHelloOfAnotherBuildIsRefused(t *testing.T) {
	for name, greet := range map[string]func(rw io.ReadWriter) error{
		"another role":  func(rw io.ReadWriter) error { return ipc.Greet(rw, ipc.Opener, ipc.Keeper, id.Vault{}) },
		"no hello":      func(rw io.ReadWriter) error { return ipc.Write(rw, keeper.MaxMessage, []byte{byte(keeper.OpStats)}) },
		"another build": func(rw io.ReadWriter) error { return ipc.Write(rw, keeper.MaxMessage, helloOf(buildid.ID()+"x")) },
	} {
		t.Run(name, func(t *testing.T) {
			k := launch(t)
			if err := greet(k.conns[0]); err != nil {
				t.Fatal(err)
			}
			ended(t, k)
		})
	}
}

func helloOf(build string) []byte {
	b := wire.AppendString(nil, build)
	b = wire.AppendString(b, ipc.Front)
	return wire.AppendString(b, make([]byte, len(id.Vault{})))
}

func TestAttachWithoutADescriptor(t *testing.T) {
	k := startBare(t, id.Vault{1})
	k.must(t, keeper.OpAttach, keeper.AttachIdentity.Append(nil)) // the keeper is ready for the descriptor
	if _, err := k.conns[0].Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	if status, _, err := k.reply(); err != nil || status != keeper.StatusOf(keeper.ErrBadRequest) {
		t.Fatalf("status %d, %v", status, err)
	}
	k.must(t, keeper.OpStats, nil)
}
