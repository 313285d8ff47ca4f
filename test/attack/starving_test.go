package attack

import (
	"bytes"
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
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/keeper"
	"vigil/internal/testing/sshtest"
)

// soon bounds what must not wait for an attacker. It is above what it takes on a
// busy machine, and below the time after which vigild gives up a silent client.
const soon = 15 * time.Second

// patience is how long an attacker tries to be served.
const patience = 5 * time.Second

// starved is a home with an unlocked vault of one key, "mine".
func starved(t *testing.T, env ...string) *sshtest.Home {
	t.Helper()
	h := sshtest.NewHome(t, ownerPassphrase, env...)
	h.Start()
	h.Found("", "")
	h.AddKey("mine")
	return h
}

// dial connects to the agent socket.
func dial(h *sshtest.Home) net.Conn {
	h.Helper()
	conn, err := net.Dial("unix", h.Agent.Socket)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = conn.Close() })
	return conn
}

// begin is a message of a number that says that it has size bytes, and what of
// its body is there.
func begin(number byte, size int, body []byte) []byte {
	m := append(binary.BigEndian.AppendUint32(nil, uint32(size)), number)
	return append(m, body...)
}

// flood writes data on n connections to the agent, which stay open until the
// function that it returns is called, or the test ends.
func flood(h *sshtest.Home, n int, data []byte) (end func()) {
	h.Helper()
	conns := make([]net.Conn, n)
	var writing sync.WaitGroup
	deadline := time.Now().Add(patience)
	for i := range conns {
		conns[i] = dial(h)
		// Who isn't served may be left waiting, or be shown the door.
		_ = conns[i].SetWriteDeadline(deadline)
		writing.Go(func() { _, _ = conns[i].Write(data) })
	}
	writing.Wait()
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// program is a program of the owner's, which speaks to the agent.
func program(h *sshtest.Home, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(append(os.Environ(), h.Env...), "SSH_AUTH_SOCK="+h.Agent.Socket)
	return cmd
}

// within fails the test unless the owner's program ends well, and soon.
func within(h *sshtest.Home, limit time.Duration, what string, cmd *exec.Cmd) time.Duration {
	h.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	late := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	took := time.Since(began)
	if err != nil {
		h.Errorf("%s: %v after %v: %s", what, err, took, out.String())
	}
	return took
}

// locks fails the test unless `vigilctl lock` gets through soon.
func locks(h *sshtest.Home) time.Duration {
	h.Helper()
	return within(h, soon, "vigilctl lock", program(h, sshtest.Binary(h, "vigilctl"), "lock"))
}

// signing is the owner's ssh-keygen, which signs with the key of a name.
func signing(h *sshtest.Home, key string) *exec.Cmd {
	file := filepath.Join(sshtest.NewDir(h), "text")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		h.Fatal(err)
	}
	return program(h, "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", h.Path(key)+".pub", file)
}

// resident is what a process has in memory, in bytes.
func resident(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
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

// keepers are the front's keeper processes.
func keepers(h *sshtest.Home) (pids []int) {
	for _, pid := range sshtest.Children(h.Agent.Process.Pid) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if args := strings.Split(string(line), "\x00"); len(args) > 1 && args[1] == keeper.Role {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestUnfinishedKeysDelayNobody: the attacker has the agent socket, begins to add
// keys on many connections and never ends. It is after "It can't crash or starve
// the agent" (a malicious ssh host): the owner adds a key, locks the agent and
// unlocks it, none of which may wait for the time that a message may take.
func TestUnfinishedKeysDelayNobody(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	ask := h.Write("askpass", "#!/bin/sh\necho secret\n")
	if err := os.Chmod(ask, 0o700); err != nil {
		t.Fatal(err)
	}
	h.Env = append(h.Env, "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none")
	h.Start()
	key := h.Path("added")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, size := range []int{agentproto.MaxMessage, 500} {
		flood(h, 100, begin(agentproto.MsgAddIdentity, size, []byte("\x00\x00\x00")))
	}
	within(h, soon, "ssh-add", program(h, "ssh-add", "-q", key))
	within(h, soon, "ssh-add -x", program(h, "ssh-add", "-x"))
	within(h, soon, "ssh-add -X", program(h, "ssh-add", "-X"))
}

// TestGuessesDelayNoOwner: the attacker guesses at the passphrase of ssh-add -x
// on many connections at once, each of which has to wait longer than the one
// before. The owner knows it, and waits for one of them at most.
func TestGuessesDelayNoOwner(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	ask := h.Write("askpass", "#!/bin/sh\necho secret\n")
	if err := os.Chmod(ask, 0o700); err != nil {
		t.Fatal(err)
	}
	h.Env = append(h.Env, "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none")
	h.Start()
	within(h, soon, "ssh-add -x", program(h, "ssh-add", "-x"))
	flood(h, 60, begin(agentproto.MsgUnlock, 1+4+5, []byte("\x00\x00\x00\x05wrong")))
	within(h, soon, "ssh-add -l", program(h, "sh", "-c", "ssh-add -l; test $? = 1")) // locked: no identities
	within(h, soon, "ssh-add -X", program(h, "ssh-add", "-X"))
}

// TestMemoryComesBack: the attacker has the agent socket, and sends as much of as
// large messages as it takes on as many connections as it likes. What that costs
// is bounded, the owner signs and locks meanwhile, and when the connections have
// gone the memory goes back to the system.
func TestMemoryComesBack(t *testing.T) {
	t.Parallel()
	const peak, left = 64 << 20, 32 << 20
	h := starved(t)
	before := resident(t, h.Agent.Process.Pid)
	body := bytes.Repeat([]byte{1}, agentproto.MaxMessage-2)
	for _, number := range []byte{agentproto.MsgSignRequest, agentproto.MsgAddIdentity} {
		end := flood(h, 600, begin(number, agentproto.MaxMessage, body)) // all but its last byte
		within(h, soon, "ssh-keygen -Y sign", signing(h, "mine"))
		if grown := resident(t, h.Agent.Process.Pid) - before; grown > peak && !sshtest.RaceEnabled {
			t.Errorf("600 connections cost %d MiB", grown>>20)
		}
		end()
	}
	if sshtest.RaceEnabled {
		return
	}
	sshtest.Eventually(t, "memory goes back", func() error {
		if grown := resident(t, h.Agent.Process.Pid) - before; grown > left {
			return fmt.Errorf("%d MiB are left", grown>>20)
		}
		return nil
	})
	locks(h)
}

// TestConnectionsLeaveRoom: the attacker opens so many connections to the agent
// that the front's descriptors would run out. The owner's next one is served, and
// so is the control socket: the lock, which needs descriptors too, gets through.
func TestConnectionsLeaveRoom(t *testing.T) {
	t.Parallel()
	const limit = 256
	h := sshtest.NewHome(t, ownerPassphrase)
	script := h.Write("vigild", fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s\n", limit, sshtest.Binary(t, "vigild")))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	h.StartAs(script)
	h.Found("", "")
	h.AddKey("mine")
	for range 2 * limit {
		conn, err := net.DialTimeout("unix", h.Agent.Socket, soon)
		if err != nil {
			break // the queue of those who wait is full as well
		}
		t.Cleanup(func() { _ = conn.Close() })
		// It has asked for something, so it isn't idle from the beginning.
		_, _ = conn.Write(begin(agentproto.MsgRequestIdentities, 1, nil))
	}
	within(h, soon, "ssh-keygen -Y sign", signing(h, "mine"))
	within(h, soon, "vigilctl refresh", program(h, sshtest.Binary(t, "vigilctl"), "refresh"))
	locks(h)
}

// TestAddedKeysHaveABudget: the attacker adds keys whose constraints fill their
// messages, 256 KiB for each of the 2,048 that the agent takes.
func TestAddedKeysHaveABudget(t *testing.T) {
	t.Parallel()
	const keys, peak = 300, 48 << 20
	h := starved(t)
	before := resident(t, h.Agent.Process.Pid)
	conn := dial(h)
	c := agent.NewClient(conn)
	refused := 0
	for i := range keys {
		err := c.Add(agent.AddedKey{
			PrivateKey: newKey(t), Comment: fmt.Sprint(i), ConstraintExtensions: []agent.ConstraintExtension{
				{ExtensionName: "restrict-destination-v00@openssh.com", ExtensionDetails: manyDestinations(t)},
			},
		})
		if err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Errorf("all of %d keys with 200 KiB of constraints were taken", keys)
	}
	if refused == keys {
		t.Errorf("none was taken: the test doesn't test what it says: %s", h.OK("why"))
	}
	if grown := resident(t, h.Agent.Process.Pid) - before; grown > peak && !sshtest.RaceEnabled {
		t.Errorf("they cost %d MiB", grown>>20)
	}
	within(h, soon, "ssh-keygen -Y sign", signing(h, "mine"))
}

// TestLogStaysSmall: the attacker has the agent socket, and breaks the protocol on
// one connection after another, each of which is worth a line in the log. The log
// says how many lines it left out.
func TestLogStaysSmall(t *testing.T) {
	t.Parallel()
	const most = 256 << 10
	h := sshtest.NewHome(t, ownerPassphrase)
	h.Start()
	breakIt := func(n int) {
		for range n {
			conn := dial(h)
			_, _ = conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 11})
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}
	breakIt(5000)
	log := func() []byte { return h.Read(h.Agent.LogFile) }
	if n := len(log()); n > most {
		t.Errorf("5,000 broken connections left %d KiB of log", n>>10)
	}
	sshtest.Eventually(t, "the log says what it left out", func() error {
		breakIt(1)
		if !bytes.Contains(log(), []byte("left_out=")) {
			return errors.New("it doesn't")
		}
		return nil
	})
}

// newKey is a private key that nobody has yet.
func newKey(t testing.TB) *ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key
}

// manyDestinations is a constraint that fills a message nearly.
func manyDestinations(t testing.TB) []byte {
	t.Helper()
	host, err := ssh.NewPublicKey(newKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	to := make([]agentproto.Destination, 900)
	for i := range to {
		to[i].To = agentproto.Hop{
			Host: strings.Repeat("h", 150) + strconv.Itoa(i),
			Keys: []agentproto.KeySpec{{Blob: host.Marshal()}},
		}
	}
	return agentproto.AppendDestinations(nil, to)
}
