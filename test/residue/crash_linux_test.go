package residue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/testing/sshtest"
)

// crashes are signals that end a Go program with a trace of all it does, or
// with a core file.
var crashes = []syscall.Signal{syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGQUIT}

// TestACrashTellsNothing crashes each role while it works with secrets.
func TestACrashTellsNothing(t *testing.T) {
	for _, role := range []string{"front", "keeper", "opener"} {
		for _, signal := range crashes {
			t.Run(fmt.Sprintf("%s, %v", role, signal), func(t *testing.T) {
				s := &scene{world: newWorld(t, ""), guarded: guard.SecretMemory, search: newSearch(), vault: map[string]*secretKey{}}
				s.vigilctl("init", "--unlock", "--passphrase-file", s.passFile, "--kdf-memory=64", "--kdf-parallelism=1")
				for _, k := range kinds[:2] {
					s.generate(k.kind, k.bits)
					s.sshAdd(k.kind, k.bits)
				}
				s.signAll(t)
				s.learn()
				s.crash(role, signal)
			})
		}
	}
}

// crash sends a signal to the processes of a role and looks at what is left.
func (s *scene) crash(role string, signal syscall.Signal) {
	t := s.t
	t.Helper()
	if role == "opener" {
		defer s.openerAtWork()()
	}
	stop := s.busy()
	var victims []int
	for _, p := range s.processes() {
		if p.role == role {
			check(t, syscall.Kill(p.pid, signal))
			victims = append(victims, p.pid)
		}
	}
	if len(victims) == 0 {
		t.Fatalf("there is no %s", role)
	}
	for _, pid := range victims {
		waitUntilGone(t, pid)
	}
	stop()
	if role == "front" {
		<-s.ended
		for _, p := range s.processes() { // keepers and openers follow their front
			waitUntilGone(t, p.pid)
		}
		if state := s.front.ProcessState.Sys().(syscall.WaitStatus); state.CoreDump() {
			t.Error("the front left a core file")
		}
		if len(s.log()) == 0 {
			t.Error("the front said nothing: not a crash")
		}
	}
	s.looksClean()
}

// looksClean looks for secrets in what the daemon printed, and for core files.
func (s *scene) looksClean() {
	t := s.t
	t.Helper()
	log := s.log()
	if bytes.Contains(log, []byte("core dumped")) {
		t.Errorf("a core file was written:\n%s", log)
	}
	found := map[string]string{}
	s.search.in(log, func(_ int, p place) { found[p.form] = p.form })
	// A trace prints arguments as words.
	for _, f := range s.search.forms {
		for at := 0; at+8 <= len(f.bytes); at++ {
			if distinct(f.bytes[at:at+8]) < 5 {
				continue
			}
			word := fmt.Sprintf("%x", binary.NativeEndian.Uint64(f.bytes[at:]))
			if bytes.Contains(log, []byte(word)) {
				found[f.name] = f.name + " as the word " + word
			}
		}
	}
	if len(found) > 0 {
		t.Errorf("the log has secrets:\n%s", some(found))
	}
	for _, root := range []string{s.dir, sshtest.BinaryDir()} {
		check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(d.Name(), "core") {
				t.Errorf("%s is left", path)
			}
			return err
		}))
	}
}

// TestThisMachineWritesCoreFiles is the control: an ordinary program started
// like the front would be dumped.
func TestThisMachineWritesCoreFiles(t *testing.T) {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	check(t, err)
	w := &world{t: t, dir: sshtest.World()}
	dir, err := os.MkdirTemp(filepath.Join(w.dir, "w"), "c")
	check(t, err)
	check(t, sshtest.Give(dir))
	cmd := w.command("sh", "-c", `ulimit -c unlimited; kill -ABRT $$`)
	cmd.Dir = dir
	_ = cmd.Run()
	if state := cmd.ProcessState.Sys().(syscall.WaitStatus); !state.Signaled() {
		t.Fatalf("sh didn't die: %v", cmd.ProcessState)
	} else if !state.CoreDump() {
		t.Skipf("no core files here, with pattern %q", pattern)
	}
}

// busy has clients sign until the function it returns is called.
func (s *scene) busy() (stop func()) {
	keys := append([]*secretKey(nil), s.added...)
	for _, k := range s.vault {
		keys = append(keys, k)
	}
	ready, end, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		a, err := s.dial()
		if err == nil {
			defer a.Close()
		}
		for i := 0; err == nil; i++ {
			_, err = a.sign(keys[i%len(keys)], []byte("while it crashes"))
			if i == 0 {
				close(ready)
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	<-ready
	return func() { close(end); <-done }
}

// openerAtWork keeps an opener alive that has read most of a passphrase: the
// pipe that it comes through isn't closed.
func (s *scene) openerAtWork() (end func()) {
	t := s.t
	t.Helper()
	fifo := filepath.Join(s.dir, "fifo")
	check(t, unix.Mkfifo(fifo, 0o600))
	check(t, sshtest.Give(fifo))
	keep, err := os.OpenFile(fifo, os.O_RDWR, 0)
	check(t, err)
	_, err = keep.Write(s.pass)
	check(t, err)
	job := s.command(filepath.Join(sshtest.BinaryDir(), "vigilctl"), "export", "generated-ed25519-0",
		"--output", filepath.Join(s.dir, "exported"), "--no-passphrase", "--passphrase-file", fifo)
	check(t, job.Start())
	ended := make(chan error, 1)
	go func() { ended <- job.Wait() }()
	for began := time.Now(); s.count("opener") == 0; {
		if time.Since(began) > startDeadline {
			t.Fatal("no opener came")
		}
		<-time.After(5 * time.Millisecond)
	}
	return func() {
		_ = keep.Close()
		if err := <-ended; err == nil {
			t.Error("the export succeeded without its opener")
		} else if _, ok := err.(*exec.ExitError); !ok {
			t.Error(err)
		}
	}
}

// waitUntilGone waits for the end of a process, which may stay as a zombie.
func waitUntilGone(t *testing.T, pid int) {
	t.Helper()
	for began := time.Now(); ; {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || bytes.Contains(status, []byte("State:\tZ")) {
			return
		}
		if time.Since(began) > startDeadline {
			t.Fatalf("process %d didn't end:\n%s", pid, status)
		}
		<-time.After(5 * time.Millisecond)
	}
}
