package attack

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"vigil/internal/ask"
	"vigil/internal/control"
	"vigil/internal/ipc"
	"vigil/internal/testing/sshtest"
	"vigil/internal/unixsock"
	"vigil/internal/wire"
)

// pose waits for requests as `vigilctl ask` does, and has each answered by a function.
func pose(h *sshtest.Home, answer func(*net.UnixConn)) {
	h.Helper()
	ours, theirs, err := ipc.Pair()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { ours.Close() })
	v, err := connect(h, true, patience)
	if err == nil {
		err = v.request("ask", control.AskRequest{}, []string{"channel"}, theirs)
	}
	if err == nil {
		_, err = v.receive()
	}
	theirs.Close()
	if err != nil {
		h.Fatal(err)
	}
	go func() {
		var one [1]byte
		for {
			_, fds, err := unixsock.RecvFDsConn(ours, one[:], 1)
			if err != nil || len(fds) != 1 {
				return
			}
			if conn, err := unixsock.Conn(fds[0]); err == nil {
				h.Cleanup(func() { conn.Close() })
				answer(conn)
			}
		}
	}()
}

// greet says hello as an asker of the front's build.
func greet(conn *net.UnixConn) (ask.Question, error) {
	const most = 4096
	hello, err := ipc.Read(conn, most)
	if err != nil {
		return ask.Question{}, err
	}
	r := wire.NewReader(hello)
	build, _, vault := r.String(), r.String(), r.String()
	if err := ipc.Write(conn, most, wire.AppendString(wire.AppendString(wire.AppendString(nil, build), ipc.Asker), vault)); err != nil {
		return ask.Question{}, err
	}
	return ask.ReadQuestion(conn)
}

// sooner is less than an opener waits for a passphrase that doesn't come.
const sooner = 7 * time.Second

// TestAFalseVigilctlAskDelaysNobody: the attacker is asked, as it waits like `vigilctl ask`.
// It learns what the person would read, and no more. It never says hello, never answers, or
// passes on a passphrase that never comes: the owner's unlock and lock don't wait.
func TestAFalseVigilctlAskDelaysNobody(t *testing.T) {
	t.Parallel()
	silent, _ := pipe(t, "")
	for name, answer := range map[string]func(*net.UnixConn) error{
		"no hello":  func(*net.UnixConn) error { return nil },
		"no answer": func(c *net.UnixConn) error { _, err := greet(c); return err },
		"no passphrase": func(c *net.UnixConn) error {
			q, err := greet(c)
			if err == nil && (q.Environ != nil || q.Session != nil || !strings.HasPrefix(q.Text, "Passphrase of vault default, ")) {
				err = errors.New("it is told more than the question")
			}
			if err == nil {
				err = ask.Send(c, &ask.Answer{Typed: true}, silent)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := starved(t)
			locks(h)
			asked := make(chan error, 1)
			pose(h, func(c *net.UnixConn) {
				select {
				case asked <- answer(c):
				default:
				}
			})
			signed := make(chan error, 1)
			cmd := signing(h, "mine")
			go func() { signed <- cmd.Run() }()
			if err := <-asked; err != nil {
				t.Error(err)
			}
			within(h, sooner, "vigilctl unlock", program(h, sshtest.Binary(t, "vigilctl"), h.By("unlock")...))
			<-signed // refused, or not: the vault is unlocked now
			if err := h.Sign("mine"); err != nil {
				t.Error(err)
			}
			locks(h)
		})
	}
}

// TestVigilctlAskTakesOnlySockets: what else is passed isn't waited for.
func TestVigilctlAskTakesOnlySockets(t *testing.T) {
	t.Parallel()
	h := starved(t)
	r, _ := pipe(t, "")
	folder, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for _, f := range []*os.File{r, folder} {
		v, err := connect(h, true, patience)
		if err == nil {
			err = v.request("ask", control.AskRequest{}, []string{"channel"}, f)
		}
		if err != nil {
			t.Fatal(err)
		}
		if f == r {
			continue // the daemon waits for a pipe's input, as for a passphrase
		}
		reply, err := v.receive()
		if err != nil || !strings.Contains(string(reply), "no request can come here") {
			t.Errorf("answered %s, %v", reply, err)
		}
	}
	if s := h.Status(); s.Standbys != 0 {
		t.Errorf("%d wait", s.Standbys)
	}
}
