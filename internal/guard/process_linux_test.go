package guard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childMode names, in a child's environment, what it does.
const childMode = "VIGIL_GUARD_CHILD"

// nobody is the user children run as when the tests run as root, whom neither
// lock limits nor permissions hold.
const nobody = 65534

var children = map[string]func() error{
	"lock limit":   childLockLimit,
	"write after":  childWriteAfter,
	"write before": childWriteBefore,
	"harden":       childHarden,
	"open memory":  childOpenMemory,
}

func TestMain(m *testing.M) {
	if run := children[os.Getenv(childMode)]; run != nil {
		if err := run(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func childCommand(mode string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{childMode + "=" + mode}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

func TestLockLimit(t *testing.T) {
	if out, err := childCommand("lock limit").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func childLockLimit() error {
	for _, k := range []Kind{SecretMemory, LockedMemory} {
		if err := k.meetLockLimit(); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

func (k Kind) meetLockLimit() error {
	limit := func(n uint64) error {
		return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: n, Max: 8 << 20})
	}
	// Too low for the least.
	if err := limit(32 << 10); err != nil {
		return err
	}
	var refused *LockLimitError
	if _, err := k.NewSlab(1 << 20); !errors.As(err, &refused) || refused.Have != 32<<10 || refused.Need != smallestSegment {
		return fmt.Errorf("a limit of 32 KiB: %v", err)
	}
	if !strings.Contains(refused.Error(), "RLIMIT_MEMLOCK") || !strings.Contains(refused.Error(), "64 KiB") {
		return fmt.Errorf("says %q", refused)
	}
	if err := CheckLockLimit(1 << 20); !errors.As(err, &refused) {
		return fmt.Errorf("check against 32 KiB: %v", err)
	}
	if err := CheckLockLimit(16 << 10); err != nil {
		return err
	}
	// Too low for what was asked for, but enough to go on.
	if err := limit(256 << 10); err != nil {
		return err
	}
	small, err := k.NewSlab(1 << 20)
	if err != nil {
		return fmt.Errorf("a limit of 256 KiB: %w", err)
	}
	if _, err := small.Alloc(1); err != nil || small.Usage().Mapped < 128<<10 {
		return fmt.Errorf("a limit of 256 KiB: %d bytes mapped, %w", small.Usage().Mapped, err)
	}
	if err := small.Close(); err != nil {
		return err
	}
	return k.fillEightMegabytes(limit)
}

// fillEightMegabytes fills the usual lock limit with keys until it is full.
func (k Kind) fillEightMegabytes(limit func(uint64) error) error {
	if err := limit(8 << 20); err != nil {
		return err
	}
	s, err := k.NewSlab(256 << 10)
	if err != nil {
		return err
	}
	var last *Buffer
	n := 0
	for ; err == nil; n++ {
		var b *Buffer
		if b, err = s.Alloc(64); err == nil {
			last = b
		}
	}
	var refused *LockLimitError
	if !errors.Is(err, ErrFull) || !errors.As(err, &refused) {
		return fmt.Errorf("when full: %w", err)
	}
	if n < 100_000 {
		return fmt.Errorf("only %d Ed25519 keys fit in 8 MiB", n)
	}
	last.Free()
	if _, err := s.Alloc(64); err != nil {
		return fmt.Errorf("after one was freed: %w", err)
	}
	return s.Close()
}

func TestLockedMemoryIsLockedAndUndumped(t *testing.T) {
	mem, unmap, err := mapLocked(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unmap() }()
	mem[0], mem[len(mem)-1] = 1, 2
	flags := vmFlags(t, mem)
	for _, want := range []string{"lo", "dd", "dc"} { // locked, don't dump, don't copy on fork
		if !strings.Contains(flags+" ", " "+want+" ") {
			t.Errorf("VmFlags:%s lacks %s", flags, want)
		}
	}
}

// TestWritesOutsideLockedMemoryEndTheProcess, at once or when it is given back.
func TestWritesOutsideLockedMemoryEndTheProcess(t *testing.T) {
	for mode, said := range map[string]string{
		"write after": "unexpected fault address", "write before": "canary verification failed",
	} {
		out, err := childCommand(mode).CombinedOutput()
		if err == nil || !strings.Contains(string(out), said) {
			t.Errorf("%s: %v, %s", mode, err, out)
		}
	}
}

func childWriteAfter() error {
	mem, _, err := mapLocked(1 << 16)
	if err == nil {
		*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), len(mem))) = 1
	}
	return err
}

func childWriteBefore() error {
	mem, unmap, err := mapLocked(1 << 16)
	if err != nil {
		return err
	}
	before := (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), -1))
	*before++
	return unmap()
}

// vmFlags returns the flags of the mapping that mem is part of.
func vmFlags(t *testing.T, mem []byte) string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	at, ours := addressOf(mem), false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uint64
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			ours = from <= at && at < to
		} else if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && ours {
			return flags
		}
	}
	t.Fatal("mapping not found")
	return ""
}

func addressOf(mem []byte) uint64 {
	var at uint64
	_, _ = fmt.Sscanf(fmt.Sprintf("%p", mem), "0x%x", &at)
	return at
}

func TestSecretMemoryCannotBeRead(t *testing.T) {
	s := newSlab(t, 4096)
	if s.Usage().Kind != SecretMemory {
		t.Skip("this kernel has no memfd_secret")
	}
	b, err := s.Alloc(64)
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), "secret")
	f, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if n, err := f.ReadAt(make([]byte, 6), int64(addressOf(b.Bytes()))); err == nil || n != 0 {
		t.Fatalf("read %d bytes, %v", n, err)
	}
}

func TestHarden(t *testing.T) {
	cmd := childCommand("harden")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "hardened\n" {
		t.Fatalf("%q %v", line, err)
	}
	// A process of the same user, not its parent or child.
	said, err := childCommand("open memory", fmt.Sprint(cmd.Process.Pid)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if !bytes.Contains(said, []byte("refused")) {
		t.Fatalf("%s", said)
	}
}

func childHarden() error {
	h, err := Harden()
	if err != nil {
		return err
	}
	if !h.Undumpable || !h.NoCore || !h.PrivateFiles {
		return fmt.Errorf("%+v", h)
	}
	if again, err := Harden(); err != nil || !again.FromStart {
		return fmt.Errorf("a second time: %+v %w", again, err)
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core.Cur != 0 || core.Max != 0 {
		return fmt.Errorf("core limit %+v %w", core, err)
	}
	if mask := unix.Umask(0); mask != 0o077 {
		return fmt.Errorf("umask %o", mask)
	}
	fmt.Println("hardened")
	_, err = os.Stdin.Read(make([]byte, 1))
	if err != nil && err.Error() == "EOF" {
		return nil
	}
	return err
}

func childOpenMemory() error {
	for _, name := range []string{"mem", "environ", "maps"} {
		f, err := os.Open("/proc/" + os.Args[1] + "/" + name)
		if err == nil {
			return errors.Join(fmt.Errorf("%s can be opened", name), f.Close())
		}
		if !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	var pid int
	if _, err := fmt.Sscan(os.Args[1], &pid); err != nil {
		return err
	}
	if err := unix.PtraceAttach(pid); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("ptrace: %v", err)
	}
	fmt.Println("refused")
	return nil
}
