package hardening

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNobodyLooksInside tries every way in that the user's other programs have.
func TestNobodyLooksInside(t *testing.T) {
	w := start(t, "")
	w.addKeys()
	w.holdOpener()
	w.holdAsker()
	roles := map[string]int{}
	for _, p := range w.processes() {
		roles[p.role]++
		t.Run(fmt.Sprintf("%s %d", p.role, roles[p.role]), func(t *testing.T) {
			for name, try := range ways {
				if err := try(p.pid); err == nil {
					t.Errorf("%s: succeeded", name)
				} else if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
					t.Errorf("%s: failed otherwise than for want of permission: %v", name, err)
				}
			}
		})
	}
	if roles["front"] != 1 || roles["keeper"] != 2 || roles["opener"] != 1 || roles["asker"] != 1 {
		t.Errorf("looked at %v", roles)
	}
}

// TestTheWaysInLeadIntoOtherProcesses is the control.
func TestTheWaysInLeadIntoOtherProcesses(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	check(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for name, try := range ways {
		if err := try(cmd.Process.Pid); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// ways are how one process looks into another of the same user.
var ways = map[string]func(pid int) error{
	"gdb": func(pid int) error {
		cmd := exec.Command("gdb", "-nx", "-batch", "-p", fmt.Sprint(pid), "-ex", "info registers")
		out, err := cmd.CombinedOutput()
		switch text := string(out); {
		case strings.Contains(text, "Operation not permitted"):
			return unix.EPERM
		case err != nil:
			return fmt.Errorf("%w: %s", err, out)
		case !strings.Contains(text, "rip") && !strings.Contains(text, "pc "):
			return fmt.Errorf("gdb showed no registers: %s", out)
		}
		return nil
	},
	"ptrace": func(pid int) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.PtraceSeize(pid); err != nil {
			return err
		}
		var status unix.WaitStatus
		if err := unix.PtraceInterrupt(pid); err != nil {
			return err
		}
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
			return err
		}
		return unix.PtraceDetach(pid)
	},
	"process_vm_readv": func(pid int) error {
		b := make([]byte, 1)
		local := []unix.Iovec{{Base: &b[0], Len: 1}}
		_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 1, Len: 1}}, 0)
		if errors.Is(err, unix.EFAULT) {
			return nil // let in; there is nothing at that address
		}
		return err
	},
	"/proc/PID/mem":     opens("mem"),
	"/proc/PID/maps":    opens("maps"),
	"/proc/PID/environ": opens("environ"),
	"/proc/PID/auxv":    opens("auxv"),
	"/proc/PID/fd": func(pid int) error {
		_, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		return err
	},
	"/proc/PID/exe": func(pid int) error {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err
	},
}

func opens(name string) func(pid int) error {
	return func(pid int) error {
		f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			return err
		}
		return f.Close()
	}
}

// starts is how often a daemon is started under the eyes of whoever opens the
// memory of every process as soon as it is there.
const starts = 3

// TestMemoryOpenedAtTheStartIsOfNoUse races for /proc/PID/mem with processes that
// begin: who has it open keeps it, whatever the process does afterwards.
func TestMemoryOpenedAtTheStartIsOfNoUse(t *testing.T) {
	won := race(t, "sleep", func(won func() bool) {
		for began := time.Now(); !won() && time.Since(began) < deadline; {
			check(t, exec.Command("sleep", "0.2").Run())
		}
	})
	if won == 0 {
		t.Error("the race was not even won against a program that does nothing for itself")
	}
	// A keeper is called exe until it gives itself its name.
	won = race(t, "vigild exe vigil-keeper vigil-opener", func(func() bool) {
		for range starts {
			w := start(t, "")
			w.addKeys()
			w.run("vigilctl", "export", "laptop", "--output", "exported", "--no-passphrase", "--passphrase-file", w.pass)
		}
	})
	if won > 0 {
		t.Errorf("the memory of %d processes of Vigil could be read", won)
	}
}

// race opens /proc/PID/mem of every process that begins while f runs, and
// returns of how many that became one of programs it could read the memory.
func race(t *testing.T, programs string, f func(won func() bool)) int {
	t.Helper()
	r := &racer{t: t, programs: strings.Fields(programs), opened: map[int]*os.File{}}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer r.close()
		for next := newest(t); ; {
			next = r.round(next)
			select {
			case <-end:
				return
			default:
			}
		}
	})
	f(func() bool { return r.won.Load() > 0 })
	close(end)
	wg.Wait()
	return int(r.won.Load())
}

// racer is who opens memory.
type racer struct {
	t        *testing.T
	programs []string
	opened   map[int]*os.File
	won      atomic.Int64
}

func (r *racer) close() {
	for _, mem := range r.opened {
		_ = mem.Close()
	}
}

// round opens what it can of the processes from next on, looks at all it has
// open, and returns where to go on.
func (r *racer) round(next int) int {
	const ahead = 32 // threads take numbers too
	for pid := next; pid < next+ahead; pid++ {
		if mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid)); err == nil && r.opened[pid] == nil {
			r.opened[pid] = mem
		} else if err == nil {
			_ = mem.Close()
		}
	}
	for pid, mem := range r.opened {
		name, parent, err := stat(pid)
		read := err == nil && slices.Contains(r.programs, name) && ours(parent) && readable(mem)
		if read {
			r.won.Add(1)
		}
		if read || err != nil { // counted, or gone
			_ = mem.Close()
			delete(r.opened, pid)
		}
	}
	return max(next, newest(r.t)-ahead/2)
}

// ours tells whether a process is this test, or a child of it.
func ours(pid int) bool {
	_, parent, err := stat(pid)
	return pid == os.Getpid() || err == nil && parent == os.Getpid()
}

// newest is the newest process id of this machine.
func newest(t *testing.T) (pid int) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Error(err)
		return 0
	}
	fields := strings.Fields(string(text))
	_, _ = fmt.Sscan(fields[len(fields)-1], &pid)
	return pid
}

// marker tells this test's own memory, which a process shares until it executes
// its program: what is opened before stays that.
var marker = []byte("the memory of the test itself, and of nobody else")

// readable tells whether an open /proc/PID/mem gives another program's memory.
func readable(mem *os.File) bool {
	b := make([]byte, len(marker))
	if n, _ := mem.ReadAt(b, int64(reflect.ValueOf(marker).Pointer())); n == len(b) && bytes.Equal(b, marker) {
		return false
	}
	// Programs begin here, or where the loader puts them when they can be moved.
	for _, at := range []int64{0x400000, 0x401000, startOf(mem)} {
		if n, _ := mem.ReadAt(b, at); n > 0 {
			return true
		}
	}
	return false
}

// startOf returns where the first mapping of a process is, if that can be read.
func startOf(mem *os.File) (at int64) {
	maps, err := os.ReadFile(strings.TrimSuffix(mem.Name(), "mem") + "maps")
	if err == nil {
		_, _ = fmt.Sscanf(string(maps), "%x-", &at)
	}
	return at
}
