//go:build linux && amd64

package attack

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/unix"

	"vigil/internal/testing/sshtest"
	"vigil/internal/unixsock"
)

// tracer has started a program under ptrace, and follows it and all that it starts.
// Nobody refuses that to whoever starts a program, though its memory can't be read
// then: registers can, step by step.
type tracer struct {
	thread int // that traces, by which a traced thread knows it
	done   chan struct{}

	// leaders: it lets go of the first thread of each process that has another
	// one, whose status is what there is to see of the process.
	leaders bool

	stepped atomic.Int64 // instructions of keepers whose registers it has read

	mu      sync.Mutex
	traced  map[int]int // threads that it holds, and their process
	letting map[int]bool
}

// trace starts cmd under a tracer, which ends it with the test.
func trace(t *testing.T, cmd *exec.Cmd, leaders bool) *tracer {
	t.Helper()
	tr := &tracer{done: make(chan struct{}), leaders: leaders, traced: map[int]int{}, letting: map[int]bool{}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	started := make(chan error)
	sshtest.OnOwnThread(func() {
		defer close(tr.done)
		err := tr.start(cmd)
		started <- err
		if err == nil {
			tr.follow()
		}
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tr.kill()
		<-tr.done
	})
	return tr
}

// kill ends all that is traced; of each process a thread is.
func (tr *tracer) kill() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, process := range tr.traced {
		_ = syscall.Kill(process, syscall.SIGKILL)
	}
}

func (tr *tracer) start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	root := cmd.Process.Pid
	tr.thread, tr.traced[root] = syscall.Gettid(), root
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(root, &ws, 0, nil); err != nil || !ws.Stopped() {
		return fmt.Errorf("traced program doesn't stop: %v, %v", ws, err)
	}
	const options = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(root, options); err != nil {
		return fmt.Errorf("set ptrace options: %w", err)
	}
	return syscall.PtraceCont(root, 0)
}

func (tr *tracer) follow() {
	for {
		var ws syscall.WaitStatus
		thread, err := syscall.Wait4(-1, &ws, syscall.WALL|syscall.WNOTHREAD, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return // all have ended
		default:
			tr.event(thread, ws)
		}
	}
}

// maxSteps is how many instructions of keepers are looked at: enough to show that
// nothing keeps a tracer from going on.
const maxSteps = 2000

func (tr *tracer) event(thread int, ws syscall.WaitStatus) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if ws.Exited() || ws.Signaled() {
		delete(tr.traced, thread)
		return
	}
	process, known := tr.traced[thread]
	if !known {
		process = processOf(thread)
		if process == 0 { // killed already
			process = thread
		}
		tr.traced[thread] = process
		if tr.leaders && process != thread && tr.traced[process] == process {
			tr.letting[process] = true
			_ = unix.Tgkill(process, process, unix.SIGURG) // so that it stops
		}
	}
	if tr.letting[thread] && ws.StopSignal() == unix.SIGURG {
		_ = syscall.PtraceDetach(thread)
		delete(tr.letting, thread)
		delete(tr.traced, thread)
		return
	}
	deliver := 0
	switch s := ws.StopSignal(); {
	case !known, s == syscall.SIGTRAP, s == syscall.SIGSTOP:
	default:
		deliver = int(s)
	}
	if tr.stepped.Load() < maxSteps && process != thread && isKeeper(process) {
		var regs syscall.PtraceRegs
		if syscall.PtraceGetRegs(thread, &regs) == nil && regs.Rip != 0 {
			tr.stepped.Add(1)
		}
		if deliver == 0 && syscall.PtraceSingleStep(thread) == nil {
			return
		}
	}
	_ = syscall.PtraceCont(thread, deliver)
}

// isKeeper tells a keeper, which is called exe until it has given itself its name.
func isKeeper(process int) bool {
	n := sshtest.CommandName(process)
	return n == "exe" || n == "vigil-keeper"
}

// holds returns how many threads of processes called program it holds.
func (tr *tracer) holds(program string) (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, process := range tr.traced {
		if sshtest.CommandName(process) == program {
			n++
		}
	}
	return n
}

func processOf(thread int) (pid int) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	_, rest, _ := bytes.Cut(status, []byte("\nTgid:\t"))
	_, _ = fmt.Sscan(string(rest), &pid)
	return pid
}

// newLocked is a home with a locked vault, whose daemon has been stopped.
func newLocked(t *testing.T) *sshtest.Home {
	t.Helper()
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	h.Start()
	h.Found("", "")
	h.AddKey("work")
	if err := h.Agent.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

// startTraced starts vigild of a home under a tracer.
func startTraced(h *sshtest.Home, t *testing.T, leaders bool) *tracer {
	t.Helper()
	cmd := exec.Command(sshtest.Binary(t, "vigild"))
	cmd.Env = append(os.Environ(), h.Env...)
	tr := trace(t, cmd, leaders)
	h.Agent = &sshtest.Agent{Socket: filepath.Join(h.Dir, "run/vigil/agent.sock")}
	sshtest.Eventually(t, "the traced daemon serves", func() error {
		if r := h.Vigilctl("status"); r.Status != sshtest.StatusDone {
			return errors.New(r.String())
		}
		return nil
	})
	return tr
}

// TestATracedDaemonIsGivenNothing: a program of the same user stops the daemon
// and starts it under ptrace, so that it can go through every instruction of front
// and keeper and read their registers, in which keys and passphrases pass (promises
// 2 and 4). It may let go of each process's first thread, the only one that
// /proc/PID/status tells of.
func TestATracedDaemonIsGivenNothing(t *testing.T) {
	t.Parallel()
	for what, leaders := range map[string]bool{"every thread": false, "all threads but the first": true} {
		t.Run(what, func(t *testing.T) {
			h := newLocked(t)
			tr := startTraced(h, t, leaders)
			if leaders {
				sshtest.Eventually(t, "the first thread is let go", func() error {
					status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Status().PID))
					if err != nil || !strings.Contains(string(status), "\nTracerPid:\t0\n") {
						return fmt.Errorf("%v: %s", err, status)
					}
					return nil
				})
			}
			if tr.holds("vigild") == 0 {
				t.Fatal("vigild isn't traced, so this test shows nothing")
			}
			by := fmt.Sprintf("is traced by process %d", os.Getpid())
			h.Fails(sshtest.StatusRefused, []string{by, "Nothing was handed over"}, h.By("unlock")...)
			if v := h.Vault(); v.State != "locked" {
				t.Errorf("the vault is %s", v.State)
			}
			if err := h.Sign("work"); err == nil {
				t.Error("a key signs under a tracer")
			}
			_, private, err := ed25519.GenerateKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Client().Add(agent.AddedKey{PrivateKey: private, Comment: "added"}); err == nil {
				t.Errorf("ssh-add hands over a key under a tracer, which signs: %v", h.Sign("added"))
			}
			if n := tr.stepped.Load(); n > 0 {
				t.Errorf("the registers of keepers could be read at %d instructions", n)
			}
			if why := h.OK("why").Out; !strings.Contains(why, by) {
				t.Errorf("why doesn't say so: %s", why)
			}
			if w := strings.Join(h.Status().Warnings, "\n"); !strings.Contains(w, by) {
				t.Errorf("status doesn't say so: %s", w)
			}
		})
	}
}

// TestATracedFrontTakesNoPassphrase: the same, with a client that hands over a
// passphrase without looking, as one of another build might.
func TestATracedFrontTakesNoPassphrase(t *testing.T) {
	h := newLocked(t)
	startTraced(h, t, false)
	answer := askWithFile(h, "unlock", `{"vault":"default"}`, "passphrase", h.Pass)
	if !strings.Contains(answer, fmt.Sprintf("is traced by process %d", os.Getpid())) {
		t.Errorf("vigild answers %s", answer)
	}
	if v := h.Vault(); v.State != "locked" {
		t.Errorf("the vault is %s", v.State)
	}
}

// TestATracedVigilctlAsksForNothing: the same with vigilctl, and with the daemon
// that it starts (promise 4).
func TestATracedVigilctlAsksForNothing(t *testing.T) {
	t.Parallel()
	for what, running := range map[string]bool{"unlock": true, "up": false} {
		t.Run(what, func(t *testing.T) {
			h := newLocked(t)
			if running {
				h.Start()
			}
			cmd := exec.Command(sshtest.Binary(t, "vigilctl"), h.By(what)...)
			cmd.Env = append(os.Environ(), h.Env...)
			said, err := os.Create(h.Path("said"))
			if err != nil {
				t.Fatal(err)
			}
			defer said.Close()
			cmd.Stderr = said
			tr := trace(t, cmd, false)
			sshtest.Eventually(t, "vigilctl has ended", func() error {
				if n := tr.holds("vigilctl"); n > 0 {
					return fmt.Errorf("it has %d threads", n)
				}
				return nil
			})
			if text := string(h.Read(said.Name())); !strings.Contains(text, fmt.Sprintf("is traced by process %d", os.Getpid())) {
				t.Errorf("it says: %s", text)
			}
			if r := h.Vigilctl("status"); running != (r.Status == sshtest.StatusDone) || strings.Contains(r.Out, "unlocked") {
				t.Errorf("status says %s", r)
			}
		})
	}
}

// askWithFile sends the daemon a request beside which a file travels, and returns
// its answer.
func askWithFile(h *sshtest.Home, op, body, slot, path string) string {
	h.Helper()
	conn, err := net.Dial("unix", h.Path("run/vigil/control.sock"))
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	frame := func(message string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
	}
	receive := func() string {
		var size uint32
		if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
			h.Fatal(err)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(conn, b); err != nil {
			h.Fatal(err)
		}
		return string(b)
	}
	if _, err := conn.Write(frame(fmt.Sprintf(`{"vigil":"control","version":1,"build":%q}`, h.Status().Build))); err != nil {
		h.Fatal(err)
	}
	receive()
	f, err := os.Open(path)
	if err != nil {
		h.Fatal(err)
	}
	defer f.Close()
	request := frame(fmt.Sprintf(`{"op":%q,"files":[%q],"body":%s}`, op, slot, body))
	if err := unixsock.SendFDsConn(conn.(*net.UnixConn), request, int(f.Fd())); err != nil {
		h.Fatal(err)
	}
	return receive()
}
