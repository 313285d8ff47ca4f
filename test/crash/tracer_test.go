//go:build linux && amd64

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigil/internal/testing/sshtest"
)

// tracer follows a program and all that it starts, and counts the steps in
// which they change files, whichever process and thread makes them. (strace
// counts for each thread alone, and a Go program's calls wander.)
type tracer struct {
	root     int
	thread   int           // that traces
	rootDone chan struct{} // closed when the root process has ended
	allDone  chan struct{} // closed when every traced process has

	status syscall.WaitStatus // of the root, once rootDone is closed

	mu   sync.Mutex
	shot *shot
}

// shot says which step fails and how, and what was seen.
type shot struct {
	op    string        // what is under fire
	nth   int           // the step, from 1; 0 only counts
	errno syscall.Errno // what it returns; 0 kills the process that makes it
	seen  int           // steps so far
	hit   string        // the step that was hit, "" so far
}

func (s *shot) String() string {
	what := "kill at"
	if s.errno != 0 {
		what = fmt.Sprintf("%v at", s.errno)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s step %d, %s", s.op, what, s.nth, s.hit))
}

// left describes the threads that are still traced, for messages.
func (t *tracer) left() (list []string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/status")
	tracer := fmt.Sprintf("\nTracerPid:\t%d\n", t.thread)
	for _, path := range stats {
		status, _ := os.ReadFile(path)
		if strings.Contains(string(status), tracer) {
			where, _ := os.ReadFile(filepath.Dir(path) + "/wchan")
			list = append(list, fmt.Sprintf("%s\n%s in %s", path, status, where))
		}
	}
	return list
}

// arm makes the nth step from now on fail.
func (t *tracer) arm(nth int, errno syscall.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shot = &shot{nth: nth, errno: errno}
}

// disarm ends that and returns what happened.
func (t *tracer) disarm() shot {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.shot
	t.shot = nil
	return *s
}

// step counts a step and says whether it is the one to hit.
func (t *tracer) step(name string, tgid int) (errno syscall.Errno, hit bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.shot
	if s == nil || s.hit != "" {
		return 0, false
	}
	s.seen++
	if s.seen != s.nth {
		return 0, false
	}
	s.hit = fmt.Sprintf("%s of %s", name, sshtest.CommandName(tgid))
	return s.errno, true
}

// trace starts cmd under a tracer. All of ptrace belongs to one thread.
func trace(cmd *exec.Cmd) (*tracer, error) {
	return traceArmed(cmd, nil)
}

// traceArmed is trace with a shot that is armed from the first step on.
func traceArmed(cmd *exec.Cmd, s *shot) (*tracer, error) {
	t := &tracer{rootDone: make(chan struct{}), allDone: make(chan struct{}), shot: s}
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	started := make(chan error)
	sshtest.OnOwnThread(func() {
		if err := t.start(cmd); err != nil {
			started <- err
			return
		}
		started <- nil
		t.follow()
	})
	return t, <-started
}

func (t *tracer) start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	t.root, t.thread = cmd.Process.Pid, syscall.Gettid()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(t.root, &ws, 0, nil); err != nil || !ws.Stopped() {
		return fmt.Errorf("traced program doesn't stop: %v, %v", ws, err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
		unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(t.root, options); err != nil {
		return fmt.Errorf("set ptrace options: %w", err)
	}
	return syscall.PtraceSyscall(t.root, 0)
}

// thread is one traced thread.
type thread struct {
	tgid   int
	opened bool          // in an openat that gets a file to write to
	errno  syscall.Errno // what the system call under way is to return
}

// file is a descriptor of a process.
type file struct{ tgid, fd int }

// following is the state of follow.
type following struct {
	*tracer
	threads map[int]*thread
	files   map[file]bool // those open for writing
}

func (t *tracer) follow() {
	f := &following{t, map[int]*thread{t.root: {tgid: t.root}}, map[file]bool{}}
	defer close(t.allDone)
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WALL|syscall.WNOTHREAD, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return // ECHILD: all have ended
		}
		f.event(pid, ws)
	}
}

func (f *following) event(pid int, ws syscall.WaitStatus) {
	th := f.threads[pid]
	if ws.Exited() || ws.Signaled() {
		delete(f.threads, pid)
		f.forget(pid)
		if pid == f.root {
			f.status = ws
			close(f.rootDone)
		}
		return
	}
	deliver := 0
	switch sig := ws.StopSignal(); {
	case th == nil: // a new thread or process, stopped before its first instruction
		f.threads[pid] = &thread{tgid: tgidOf(pid)}
	case sig == syscall.SIGTRAP|0x80:
		f.syscall(pid, th)
	case ws.TrapCause() > 0, sig == syscall.SIGTRAP:
		th.opened, th.errno = false, 0 // fork, clone, exec
	default:
		deliver = int(sig)
	}
	_ = syscall.PtraceSyscall(pid, deliver) // it may just have been killed
}

// forget drops the files of a process that has ended: another one may get its
// number, and the same descriptors for sockets.
func (f *following) forget(pid int) {
	for open := range f.files {
		if open.tgid == pid {
			delete(f.files, open)
		}
	}
}

func tgidOf(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if _, rest, ok := bytes.Cut(status, []byte("\nTgid:\t")); ok {
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if n, err := strconv.Atoi(string(line)); err == nil {
			return n
		}
	}
	return pid
}

// info is struct ptrace_syscall_info.
type info struct {
	op   uint8 // 1 entry, 2 exit
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64 // at entry; at exit the result
	args [6]uint64
	_    [2]uint64
}

func (f *following) syscall(pid int, th *thread) {
	var in info
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(pid), unsafe.Sizeof(in), uintptr(unsafe.Pointer(&in)), 0, 0); e != 0 {
		return
	}
	if in.op == 2 {
		f.leave(pid, th, int64(in.nr))
		return
	}
	name, opens := f.classify(th.tgid, &in)
	th.opened = opens
	if name == "" {
		return
	}
	errno, hit := f.step(name, th.tgid)
	if !hit {
		return
	}
	th.opened = false
	skipCall(pid)
	if errno == 0 {
		_ = syscall.Kill(th.tgid, syscall.SIGKILL) // cannot fail while it is stopped
		return
	}
	th.errno = errno
}

// leave sees a system call's end.
func (f *following) leave(pid int, th *thread, result int64) {
	if th.opened && result >= 0 {
		f.files[file{th.tgid, int(result)}] = true
	}
	th.opened = false
	if th.errno != 0 {
		var regs syscall.PtraceRegs
		if syscall.PtraceGetRegs(pid, &regs) == nil {
			regs.Rax = uint64(-int64(th.errno))
			_ = syscall.PtraceSetRegs(pid, &regs)
		}
		th.errno = 0
	}
}

// skipCall makes the system call that a thread is about to make do nothing.
func skipCall(pid int) {
	var regs syscall.PtraceRegs
	if syscall.PtraceGetRegs(pid, &regs) == nil {
		regs.Orig_rax = ^uint64(0)
		_ = syscall.PtraceSetRegs(pid, &regs)
	}
}

// steps are the system calls that change the file system, besides those that
// classify looks at more closely.
var steps = map[uint64]string{
	unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fsync",
	unix.SYS_RENAME: "rename", unix.SYS_RENAMEAT: "rename", unix.SYS_RENAMEAT2: "rename",
	unix.SYS_LINK: "link", unix.SYS_LINKAT: "link",
	unix.SYS_UNLINK: "unlink", unix.SYS_UNLINKAT: "unlink", unix.SYS_RMDIR: "rmdir",
	unix.SYS_MKDIR: "mkdir", unix.SYS_MKDIRAT: "mkdir",
	unix.SYS_FCHMOD: "chmod", unix.SYS_FCHMODAT: "chmod", unix.SYS_CHMOD: "chmod",
	unix.SYS_TRUNCATE: "truncate",
}

// classify names the step that a system call is, "" for none, and says whether
// it opens a file for writing.
func (f *following) classify(tgid int, in *info) (name string, opens bool) {
	switch in.nr {
	case unix.SYS_OPENAT:
		flags := in.args[2]
		opens = flags&unix.O_ACCMODE != unix.O_RDONLY
		if flags&unix.O_CREAT != 0 {
			name = "create"
		}
		return name, opens
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		if f.files[file{tgid, int(in.args[0])}] {
			return "write", false
		}
	case unix.SYS_CLOSE:
		delete(f.files, file{tgid, int(in.args[0])})
	}
	return steps[in.nr], false
}
