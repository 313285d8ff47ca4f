package guard

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxLooks is how often the threads of a process are listed until a list has no
// new ones. None of Vigil's processes starts threads faster than that.
const maxLooks = 100

var errUnsettled = errors.New("it keeps starting threads")

// tracerOf returns the id of a tracer of any thread of a process, or 0: the field
// TracerPid of proc_pid_status(5), which each thread has.
//
// A traced thread passes its tracer on to the threads that it starts, and may then
// be detached. So the threads are listed again after they were checked: if there
// are no new ones, all threads were untraced at the same time, and no tracer can
// attach later.
func tracerOf(pid int) (int, error) {
	self := pid == os.Getpid()
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	if self {
		dir = "/proc/self/task" // correct in any pid namespace
	}
	seen, err := threads(dir)
	for range maxLooks {
		if err != nil {
			break
		}
		for _, thread := range seen {
			tracer, err := tracerOfThread(dir + "/" + thread + "/status")
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
				continue // it has ended
			}
			if tracer != 0 || err != nil {
				return tracer, err
			}
		}
		var now []string
		if now, err = threads(dir); err == nil && !slices.ContainsFunc(now, func(t string) bool { return !slices.Contains(seen, t) }) {
			return 0, nil
		}
		seen = now
	}
	switch {
	case err == nil:
		return 0, errUnsettled
	case !self && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)):
		return 0, nil // ended, or hidden by the mount option hidepid
	}
	return 0, err
}

// tracerOfThread returns the tracer in a thread's status file.
func tracerOfThread(path string) (int, error) {
	w, err := watch(path)
	if err != nil {
		return 0, err
	}
	defer unix.Close(w.fd)
	return w.tracer()
}

// threads lists the ids of a process's threads.
func threads(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(0)
}

var errNoField = errors.New("/proc/PID/status has no such field")

// tracerIn returns the tracer in the text of a thread's status.
func tracerIn(status []byte) (int, error) { return field(status, "TracerPid") }

func field(status []byte, name string) (int, error) {
	_, rest, ok := bytes.Cut(status, []byte("\n"+name+":\t"))
	line, _, ended := bytes.Cut(rest, []byte("\n"))
	if !ok || !ended {
		return 0, errNoField
	}
	return strconv.Atoi(string(line))
}

// describe returns the process that a tracing thread belongs to, and its name, as
// far as they are visible.
func describe(thread int) (pid int, program string) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(thread) + "/status")
	if err != nil {
		return thread, ""
	}
	if pid, err = field(status, "Tgid"); err != nil {
		pid = thread
	}
	name, _, _ := bytes.Cut(bytes.TrimPrefix(status, []byte("Name:\t")), []byte("\n"))
	return pid, string(name)
}

// Watch looks for a tracer of its own process from within a sandbox that can't
// open files. It sees the first thread only; processes outside see all threads.
type Watch struct{ fd int }

// NewWatch opens the status file, which stays open as long as the process lives.
func NewWatch() (*Watch, error) { return watch("/proc/self/status") }

func watch(path string) (*Watch, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		default:
			return &Watch{fd}, nil
		}
	}
}

// statusSize is enough for the first lines of a status file, in bytes; the tracer
// is on the eighth line.
const statusSize = 1024

// Untraced is UntracedSelf for the first thread only.
func (w *Watch) Untraced() error {
	if Traceable() {
		return nil
	}
	tracer, err := w.tracer()
	if err != nil || tracer == 0 {
		return err
	}
	return &TracedError{PID: os.Getpid(), Tracer: tracer}
}

func (w *Watch) tracer() (int, error) {
	var b [statusSize]byte
	n, err := unix.Pread(w.fd, b[:], 0)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Pread(w.fd, b[:], 0)
	}
	if err != nil {
		return 0, err
	}
	return tracerIn(b[:n])
}
