package residue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/internal/guard"
	"vigil/internal/keeper"
	"vigil/internal/testing/sshtest"
	"vigil/internal/wire"
)

// world is a vigild as an unprivileged user has it.
type world struct {
	t        *testing.T
	dir      string
	env      []string
	pass     []byte
	passFile string
	front    *exec.Cmd
	ended    chan struct{} // closed when the front has ended
	logFile  string
}

// startDeadline bounds how long the daemon may take to start.
const startDeadline = time.Minute

// newWorld starts a vigild with a home of its own, and settings added to its environment.
func newWorld(t *testing.T, config string, env ...string) *world {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "r")
	check(t, err)
	w := &world{t: t, dir: dir, pass: []byte("a passphrase of this run: " + random(t)), ended: make(chan struct{})}
	w.env = append(sshtest.VigilEnvironment(dir), env...)
	w.passFile = w.write("pass", append(bytes.Clone(w.pass), '\n'))
	check(t, os.MkdirAll(filepath.Join(dir, "config", "vigil"), 0o700))
	// Nobody is asked about the data that is signed, which is of no known kind.
	w.write("config/vigil/config.toml", []byte(config+"[vault.default]\napprove = \"never\"\n"))
	check(t, os.Chmod(filepath.Join(sshtest.World(), "w"), 0o711))
	check(t, sshtest.Give(dir))
	w.logFile = filepath.Join(dir, "log")
	log, err := os.Create(w.logFile)
	check(t, err)
	defer log.Close()
	// Core files are allowed, so that their absence is Vigil's doing.
	w.front = w.command("sh", "-c", `ulimit -c unlimited; exec "$0"`, sshtest.Binary(t, "vigild"))
	w.front.Stdout, w.front.Stderr = log, log
	check(t, w.front.Start())
	go func() {
		_ = w.front.Wait() // its state says how it ended
		close(w.ended)
	}()
	t.Cleanup(w.stop)
	for began := time.Now(); ; {
		if conn, err := net.Dial("unix", w.socket()); err == nil {
			conn.Close()
			return w
		}
		if time.Since(began) > startDeadline {
			t.Fatalf("vigild doesn't serve:\n%s", w.log())
		}
		<-time.After(5 * time.Millisecond)
	}
}

// stop ends what still runs.
func (w *world) stop() {
	_ = w.front.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.ended:
	case <-time.After(startDeadline):
		_ = w.front.Process.Kill()
		w.t.Error("vigild didn't end when asked to")
	}
	for _, p := range w.processes() {
		w.t.Errorf("left running: %s %d", p.role, p.pid)
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	if w.t.Failed() {
		w.t.Logf("vigild's log:\n%s", w.log())
	}
}

func (w *world) socket() string { return filepath.Join(w.dir, "run", "vigil", "agent.sock") }

func (w *world) log() []byte {
	text, _ := os.ReadFile(w.logFile)
	return text
}

// write writes a file into the world's directory and returns its path.
func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	check(w.t, os.WriteFile(path, data, 0o600))
	check(w.t, sshtest.Give(path))
	return path
}

func (w *world) files() vaultFiles {
	data := filepath.Join(w.dir, "data", "vigil")
	return vaultFiles{
		vault:   filepath.Join(data, "vaults", "default", "vault.jsonl"),
		keyring: filepath.Join(data, "keyrings", "default"), device: filepath.Join(data, "device"),
	}
}

// command is a program run as the unprivileged user in this world.
func (w *world) command(name string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), w.env...)
	cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK="+w.socket())
	cmd.Dir = w.dir
	check(w.t, sshtest.Unprivileged(cmd))
	return cmd
}

// run runs a program, which must succeed.
func (w *world) run(name string, args ...string) string {
	w.t.Helper()
	out, err := w.command(name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (w *world) vigilctl(args ...string) string {
	w.t.Helper()
	return w.run(filepath.Join(sshtest.BinaryDir(), "vigilctl"), args...)
}

// process is one of Vigil's.
type process struct {
	pid  int
	role string // "front", "keeper", "opener", or the binary's name
}

// processes lists what runs of this test run's binaries, and hasn't ended.
func (w *world) processes() (list []process) {
	for _, pid := range sshtest.Processes() {
		proc := fmt.Sprintf("/proc/%d", pid)
		exe, err := os.Readlink(proc + "/exe")
		if err != nil || filepath.Dir(exe) != sshtest.BinaryDir() {
			continue // a zombie has no exe
		}
		p := process{pid, filepath.Base(exe)}
		line, _ := os.ReadFile(proc + "/cmdline")
		args := strings.Split(string(line), "\x00")
		switch {
		case p.role == "vigil-opener":
			p.role = "opener"
		case p.role == "vigild" && len(args) > 1 && args[1] == keeper.Role:
			p.role = "keeper"
		case p.role == "vigild":
			p.role = "front"
		}
		list = append(list, p)
	}
	return list
}

// count says how many processes have a role.
func (w *world) count(role string) (n int) {
	for _, p := range w.processes() {
		if p.role == role {
			n++
		}
	}
	return n
}

// agent is a connection to the agent's socket.
type agent struct{ net.Conn }

func (w *world) dial() (agent, error) {
	conn, err := net.Dial("unix", w.socket())
	return agent{conn}, err
}

// call sends a message and returns the reply.
func (a agent) call(number byte, body []byte) ([]byte, error) {
	if err := a.SetDeadline(time.Now().Add(startDeadline)); err != nil {
		return nil, err
	}
	head := append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), number)
	if _, err := a.Write(append(head, body...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(a, size[:]); err != nil {
		return nil, err
	}
	reply := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(a, reply)
	return reply, err
}

// Message numbers of RFC 9987.
const (
	msgSignRequest  = 13
	msgSignResponse = 14
	msgAddIdentity  = 17
	msgLock         = 22
	msgUnlock       = 23
	msgSuccess      = 6
)

// sign has a key sign, for RSA with SHA-512.
func (a agent) sign(k *secretKey, data []byte) (*signature, error) {
	body := wire.AppendUint32(wire.AppendString(wire.AppendString(nil, k.public), data), 4)
	reply, err := a.call(msgSignRequest, body)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(reply)
	if r.Byte() != msgSignResponse {
		return nil, fmt.Errorf("sign with %s: answered with %d", k.name, reply[0])
	}
	sig := &signature{key: k, data: data, blob: r.String()}
	return sig, r.End()
}

// succeed sends a message that is to be answered with success.
func (a agent) succeed(number byte, body []byte) error {
	reply, err := a.call(number, body)
	if err == nil && (len(reply) != 1 || reply[0] != msgSuccess) {
		err = fmt.Errorf("message %d was answered with %x", number, reply)
	}
	return err
}

// nowhere fails the test for each process that has what is searched for, and each role of
// which none runs.
func (w *world) nowhere(s *search, when string, roles ...string) {
	w.t.Helper()
	running := map[string]bool{}
	for _, p := range w.processes() {
		im, err := capture(p.pid, guard.SecretMemory)
		check(w.t, err)
		running[p.role] = true
		if found := im.find(s); len(found) > 0 {
			w.t.Errorf("%s, %s has:\n%s", when, p.role, some(found))
		}
	}
	for _, role := range roles {
		if !running[role] {
			w.t.Errorf("%s, no %s runs: %v", when, role, running)
		}
	}
}
