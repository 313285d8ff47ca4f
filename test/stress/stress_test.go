package stress

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild") }

// answerDeadline bounds the wait for an answer, on machines that are busy.
const answerDeadline = 60 * time.Second

// maxMessage is the longest message an agent takes.
const maxMessage = 256 << 10

// messageTimeout is how long vigild waits for the rest of a message
// (sshagent.MessageTimeout, docs/agent-protocol.md).
const messageTimeout = 30 * time.Second

// daemon is a vigild with one Ed25519 key.
type daemon struct {
	*sshtest.Agent
	key ssh.Signer
}

// start starts a vigild, as command where one is given that ends in the binary.
func start(t *testing.T, before ...string) *daemon {
	t.Helper()
	binary := sshtest.Binary(t, "vigild")
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "d")
	if err != nil {
		t.Fatal(err)
	}
	if len(before) > 0 {
		// A script stands in for the binary.
		script := filepath.Join(dir, "start")
		text := fmt.Sprintf("#!/bin/sh\n%s\nexec %s\n", strings.Join(before, "\n"), binary)
		if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		binary = script
	}
	agent, err := sshtest.StartVigild(dir, binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(agent.LogFile)
			t.Logf("vigild's log:\n%s", log)
		}
	})
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{agent, key}
	conn := d.dial(t)
	if err := sshagent.NewClient(conn).Add(sshagent.AddedKey{PrivateKey: private, Comment: "key"}); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	return d
}

func (d *daemon) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// sign has data signed on conn and checks the signature.
func (d *daemon) sign(conn net.Conn, data []byte) error {
	if err := conn.SetDeadline(time.Now().Add(answerDeadline)); err != nil {
		return err
	}
	msg := []byte{13}
	for _, s := range [][]byte{d.key.PublicKey().Marshal(), data} {
		msg = append(binary.BigEndian.AppendUint32(msg, uint32(len(s))), s...)
	}
	msg = binary.BigEndian.AppendUint32(msg, 0)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(msg))), msg...)); err != nil {
		return err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	reply := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	if reply[0] != 14 {
		return fmt.Errorf("answered with %d", reply[0])
	}
	var sig struct {
		Format string
		Blob   []byte
		Rest   []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(reply[5:], &sig); err != nil {
		return err
	}
	return d.key.PublicKey().Verify(data, &ssh.Signature{Format: sig.Format, Blob: sig.Blob})
}

// together runs f for 0 to n-1 at once and reports the first failure.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	if failed > 0 {
		t.Fatalf("%d of %d failed, such as: %v", failed, n, first(errs))
	}
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// front returns the daemon's process id: the shell that started it became it.
func (d *daemon) front() int { return d.Process.Pid }

// resident returns what the front has resident, in bytes.
func (d *daemon) resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.front()))
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// processorTime returns how long the front has computed.
func (d *daemon) processorTime(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.front()))
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := int64(0)
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // Linux counts hundredths here
}

func TestHundredClientsSignHundredTimes(t *testing.T) {
	d := start(t)
	together(t, 100, func(i int) error {
		conn, err := net.Dial("unix", d.Socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		for n := range 100 {
			if err := d.sign(conn, fmt.Appendf(nil, "client %d, signature %d", i, n)); err != nil {
				return fmt.Errorf("client %d, signature %d: %w", i, n, err)
			}
		}
		return nil
	})
}

func TestFiveThousandConnections(t *testing.T) {
	const idle, active = 4000, 1000
	needFiles(t, idle+active+100)
	d := start(t)
	conns := make([]net.Conn, idle+active)
	for i := range conns {
		conns[i] = d.dial(t)
	}
	together(t, active, func(i int) error {
		for n := range 3 {
			if err := d.sign(conns[i*5], fmt.Appendf(nil, "%d %d", i, n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := d.sign(d.dial(t), []byte("one more")); err != nil {
		t.Errorf("a connection beside the 5,000: %v", err)
	}
	// Those that were idle all the time are as good as the others.
	together(t, idle, func(i int) error {
		return d.sign(conns[i/4*5+1+i%4], []byte("at last"))
	})
}

// needFiles skips a test that the limit on open files doesn't allow.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if uint64(limit.Max) < n {
		t.Skipf("%d files may be open here, and the test needs %d", limit.Max, n)
	}
}

func TestFileDescriptorsRunOut(t *testing.T) {
	const limit = 100
	d := start(t, fmt.Sprintf("ulimit -n %d", limit))
	before := d.dial(t)
	if err := d.sign(before, []byte("before")); err != nil {
		t.Fatal(err)
	}
	var many []net.Conn
	for range 2 * limit {
		conn, err := net.Dial("unix", d.Socket)
		if err != nil {
			break // the queue of those waiting is full as well
		}
		many = append(many, conn)
	}
	if len(many) < limit {
		t.Fatalf("only %d connections came about", len(many))
	}
	if err := d.sign(before, []byte("while there are none left")); err != nil {
		t.Errorf("an old connection, with no descriptor left: %v", err)
	}

	// It waits; it doesn't spin.
	began, used := time.Now(), d.processorTime(t)
	<-time.After(time.Second)
	if share := (d.processorTime(t) - used).Seconds() / time.Since(began).Seconds(); share > 0.2 {
		t.Errorf("it computed for %.0f %% of the time in which it could only wait", 100*share)
	}

	for _, conn := range many {
		conn.Close()
	}
	if err := d.sign(d.dial(t), []byte("after")); err != nil {
		t.Errorf("a new connection once there are descriptors again: %v", err)
	}
	if err := d.sign(before, []byte("after")); err != nil {
		t.Errorf("the old connection: %v", err)
	}
}

func TestUnfinishedMessagesCostNobody(t *testing.T) {
	t.Parallel()
	d := start(t)
	if err := d.sign(d.dial(t), []byte("warm")); err != nil {
		t.Fatal(err)
	}
	before := d.resident(t)
	fifty := func() time.Duration {
		began := time.Now()
		together(t, 50, func(i int) error {
			conn, err := net.Dial("unix", d.Socket)
			if err != nil {
				return err
			}
			defer conn.Close()
			return d.sign(conn, fmt.Appendf(nil, "%d", i))
		})
		return time.Since(began)
	}
	alone := fifty()
	const slow = 500
	began := time.Now()
	conns := make([]net.Conn, slow)
	for i := range conns {
		conns[i] = d.dial(t)
		// It says that 256 KiB come, of a signature request or of a key to add.
		number := byte(13)
		if i%2 == 1 {
			number = 17
		}
		if _, err := conns[i].Write(append(binary.BigEndian.AppendUint32(nil, maxMessage), number, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if beside := fifty(); beside > alone+messageTimeout/2 {
		t.Errorf("50 others waited %v for a signature, %v without them", beside, alone)
	}
	if grown := d.resident(t) - before; grown > 32<<20 && !sshtest.RaceEnabled {
		t.Errorf("%d unfinished messages cost %d MiB", slow, grown>>20)
	}

	// They are cut off when their time is over, and not before.
	if err := conns[0].SetReadDeadline(began.Add(2 * messageTimeout)); err != nil {
		t.Fatal(err)
	}
	_, err := conns[0].Read(make([]byte, 1))
	took := time.Since(began)
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an unfinished message was not cut off within %v: %v", took, err)
	}
	if took < messageTimeout*9/10 {
		t.Errorf("an unfinished message was cut off after %v already", took)
	}
}

func TestHugeLengthsAreRefusedAtOnce(t *testing.T) {
	d := start(t)
	if err := d.sign(d.dial(t), []byte("warm")); err != nil {
		t.Fatal(err)
	}
	before := d.resident(t)
	together(t, 100, func(int) error {
		conn, err := net.Dial("unix", d.Socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(messageTimeout / 2)); err != nil {
			return err
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, 300<<20), 13)); err != nil {
			return err
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			return fmt.Errorf("not closed: %d bytes, %v", n, err)
		}
		return nil
	})
	if grown := d.resident(t) - before; grown > 8<<20 && !sshtest.RaceEnabled {
		t.Errorf("100 messages of 300 MB cost %d MiB", grown>>20)
	}
	if err := d.sign(d.dial(t), []byte("after")); err != nil {
		t.Error(err)
	}
}

// TestClientsThatDontRead sends requests whose answers nobody takes.
func TestClientsThatDontRead(t *testing.T) {
	d := start(t)
	for range 20 {
		conn := d.dial(t)
		request := []byte{0, 0, 0, 1, 11}
		if err := conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for range 10_000 {
			if _, err := conn.Write(request); err != nil {
				break // it takes no more until somebody reads: right so
			}
		}
	}
	if err := d.sign(d.dial(t), []byte("meanwhile")); err != nil {
		t.Error(err)
	}
}

// TestManySSHAdds runs ssh-add itself many times at once.
func TestManySSHAdds(t *testing.T) {
	d := start(t)
	together(t, 30, func(int) error {
		cmd := exec.Command("ssh-add", "-l")
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+d.Socket)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "ED25519") {
			return fmt.Errorf("ssh-add -l: %w: %s", err, out)
		}
		return nil
	})
}
