package attack

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/testing/sshtest"
	"vigil/internal/unixsock"
)

// vigilctl is a program that speaks on the control socket and stops where it likes.
type vigilctl struct {
	*sshtest.Home
	conn *net.UnixConn
}

// connect connects to the control socket. With greet it says hello as vigilctl of
// the daemon's build does.
func connect(h *sshtest.Home, greet bool, patience time.Duration) (*vigilctl, error) {
	conn, err := net.DialTimeout("unix", h.Path("run/vigil/control.sock"), patience)
	if err != nil {
		return nil, err
	}
	h.Cleanup(func() { _ = conn.Close() })
	v := &vigilctl{h, conn.(*net.UnixConn)}
	if !greet {
		return v, nil
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	hello, err := v.receive()
	if err != nil {
		return v, err
	}
	err = v.send(hello)
	_ = conn.SetDeadline(time.Time{})
	return v, err
}

func (v *vigilctl) receive() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(v.conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(v.conn, body)
	return body, err
}

func (v *vigilctl) send(body []byte, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return unixsock.SendFDsConn(v.conn, append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...), fds...)
}

// request sends one with its files, whose names are those of the request's fields.
func (v *vigilctl) request(op control.Op, body any, names []string, files ...*os.File) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	q, err := json.Marshal(map[string]any{"op": op, "files": names, "body": json.RawMessage(b)})
	if err != nil {
		return err
	}
	return v.send(q, files...)
}

// pipe is one that holds text and stays open.
func pipe(t testing.TB, text string) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return r, w
}

// export asks for an export of "mine" in plain text, with a passphrase from in,
// to out.
func export(h *sshtest.Home, key string, in, out *os.File) {
	h.Helper()
	v, err := connect(h, true, patience)
	if err == nil {
		err = v.request("export", control.ExportRequest{Key: key, Plaintext: true}, []string{"passphrase", "output"}, in, out)
	}
	if err != nil {
		h.Logf("the attacker isn't served: %v", err) // right so
	}
}

// TestControlConnectionsDontDelayTheLock: the attacker has the control socket and
// holds as many connections as it is given: some that say nothing, some that said
// hello, some that wait for an answer that needs the attacker's passphrase.
// `vigilctl lock` gets through, and so does a command of the owner's.
func TestControlConnectionsDontDelayTheLock(t *testing.T) {
	t.Parallel()
	h := starved(t)
	silent, _ := pipe(t, "")
	_, full := fullPipe(t)
	together(100, func() { _, _ = connect(h, false, patience) })
	together(100, func() { _, _ = connect(h, true, patience) })
	within(h, soon, "vigilctl list", program(h, sshtest.Binary(t, "vigilctl"), "list"))
	together(100, func() { export(h, "mine", silent, full) })
	within(h, soon, "vigilctl status", program(h, sshtest.Binary(t, "vigilctl"), "status"))
	locks(h)
	if err := h.Sign("mine"); err == nil {
		t.Error("it signs after the lock")
	}
}

// together does something n times at once.
func together(n int, do func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(do)
	}
	all.Wait()
}

// fullPipe is a pipe that takes nothing more.
func fullPipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w = pipe(t, "")
	fd := int(w.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := syscall.Write(fd, make([]byte, 4096)); err != nil {
			break
		}
	}
	if err := syscall.SetNonblock(fd, false); err != nil { // the opener is to wait
		t.Fatal(err)
	}
	return r, w
}

// quick makes a home look every second whether it may still open its vault.
const quick = "[vault.default]\nrefresh = \"1s\"\ncheck = \"1s\"\n"

// removed is two homes that share a vault, the other of which is removed when the
// function is called, and must then lock by itself.
func removed(t *testing.T) (other *sshtest.Home, remove func()) {
	t.Helper()
	uri, _ := sshtest.NewShared(t)
	owner := sshtest.NewHome(t, ownerPassphrase)
	owner.Start()
	owner.Found(uri, "")
	owner.AddKey("shared")
	other = sshtest.NewHome(t, memberPassphrase)
	other.Write("config/vigil/config.toml", quick)
	other.TakeVaultFile(owner)
	other.Start()
	owner.Admit(other.Request("--backend", uri, "--name", "other"), "member")
	other.Unlock()
	other.Signs("shared")
	return other, func() {
		t.Helper()
		owner.OK(owner.By("identity", "remove", "other", "--yes")...)
		began := time.Now()
		for other.Sign("shared") == nil {
			if time.Since(began) > 3*soon {
				t.Fatalf("the removed member still signs after %v", time.Since(began))
			}
			time.Sleep(100 * time.Millisecond) // vigild does it by itself; nothing says when
		}
		t.Logf("locked after %v", time.Since(began))
	}
}

// TestJobsDontDelayRevocation: the attacker, a program of a removed member, has
// commands wait for a passphrase that never comes, or comes by half, and for an
// output that nobody reads: each is a job of the vault. It is after promise 5: the
// daemon notices that access is gone as if they weren't there.
func TestJobsDontDelayRevocation(t *testing.T) {
	t.Parallel()
	other, remove := removed(t)
	silent, _ := pipe(t, "")
	half, _ := pipe(t, "trombone")
	whole, end := pipe(t, memberPassphrase+"\n")
	_ = end.Close()
	_, full := fullPipe(t)
	_, out := pipe(t, "")
	export(other, "shared", whole, full)
	together(10, func() {
		export(other, "shared", half, out)
		export(other, "shared", silent, out)
	})
	remove()
}

// TestChangesOfTheFileDontDelayRevocation: the attacker, a program of a removed
// member or whoever syncs its vault file, replaces the file all
// the time. It is after promise 5, too.
func TestChangesOfTheFileDontDelayRevocation(t *testing.T) {
	t.Parallel()
	other, remove := removed(t)
	text := other.Read(other.VaultFile())
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(50 * time.Millisecond):
			}
			next := other.VaultFile() + ".next"
			err := os.WriteFile(next, text, 0o600)
			if err == nil {
				err = os.Rename(next, other.VaultFile())
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	remove()
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestSilentPassphraseDelaysNobody: a command of the owner's waits for a
// passphrase that a program hasn't written yet. Others go on, and a lock ends it:
// when the passphrase comes then, it unlocks nothing.
func TestSilentPassphraseDelaysNobody(t *testing.T) {
	t.Parallel()
	h := starved(t)
	in, w := pipe(t, "")
	locks(h)
	v, err := connect(h, true, soon)
	if err == nil {
		err = v.request("unlock", control.UnlockRequest{}, []string{"passphrase"}, in)
	}
	if err != nil {
		t.Fatal(err)
	}
	within(h, soon, "vigilctl unlock", program(h, sshtest.Binary(t, "vigilctl"), h.By("unlock")...))
	within(h, soon, "vigilctl generate", program(h, sshtest.Binary(t, "vigilctl"), "generate", "another"))
	locks(h)
	_, _ = fmt.Fprintln(w, ownerPassphrase)
	_ = v.conn.SetReadDeadline(time.Now().Add(soon))
	reply, err := v.receive()
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Error *control.Error }
	if err := json.Unmarshal(reply, &r); err != nil || r.Error == nil {
		t.Errorf("a command from before the lock was answered %s", reply)
	}
	if err := h.Sign("mine"); err == nil {
		t.Error("it signs after the lock")
	}
}

// TestWhyKeepsWhatMatters: the attacker has the agent socket and is refused a
// thousand times. `vigilctl why` still tells the owner of another program's.
func TestWhyKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	h := starved(t)
	locks(h)
	if err := signing(h, "mine").Run(); err == nil {
		t.Fatal("a locked vault signs")
	}
	flood(h, 20, func() (all []byte) {
		for range 50 {
			all = append(all, begin(99, 1, nil)...)
		}
		return all
	}())
	var why control.WhyReply
	sshtest.Eventually(t, "the attacker is refused", func() error {
		h.JSON(&why, "why")
		for _, r := range why.Refusals {
			if r.PID == os.Getpid() {
				return nil
			}
		}
		return errors.New("not yet")
	})
	for _, r := range why.Refusals {
		if filepath.Base(r.Program) == "ssh-keygen" || r.What == "sign" && r.PID != os.Getpid() {
			return
		}
	}
	t.Errorf("of %d refusals none is ssh-keygen's", len(why.Refusals))
}
