package doctor

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vigil/internal/checkup"
	"vigil/internal/guard"
)

// kernel checks the kernel features that keepers use. memory is what the configuration
// wants.
func kernel(memory guard.Kind) []checkup.Check {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err == nil {
		_ = unix.Close(fd)
	}
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	actions, seccompErr := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	return []checkup.Check{secretMemory(memory, err), landlock(abi, errno), seccomp(string(actions), seccompErr)}
}

// secretMemory says what the kernel's answer to memfd_secret means.
func secretMemory(wanted guard.Kind, err error) checkup.Check {
	if wanted == guard.LockedMemory {
		return checkup.Fine("memfd_secret", "not used, as config.toml says: root, and hibernation, can read unlocked keys")
	}
	if err != nil {
		return checkup.Warning("memfd_secret", "Boot with secretmem.enable=1 on Linux 5.14 or later; until then root, and hibernation, can read locked memory.",
			"this kernel doesn't offer it (%v): keys are in locked memory", err)
	}
	return checkup.Fine("memfd_secret", "keys are in memory that no other process can read; Linux hibernates only while Vigil is locked")
}

// lastABI is the first version of Landlock that also covers signals and abstract
// sockets.
const lastABI = 6

// landlock says what the kernel's answer to the question for Landlock's version means.
func landlock(abi uintptr, errno syscall.Errno) checkup.Check {
	switch {
	case errno != 0:
		return checkup.Warning("Landlock", "Boot a kernel with Landlock (lsm=landlock,…). The seccomp filter works without it.", "this kernel doesn't offer it (%v)", errno)
	case abi < lastABI:
		return checkup.Fine("Landlock", "version %d; the seccomp filter forbids what it doesn't cover", abi)
	}
	return checkup.Fine("Landlock", "version %d", abi)
}

// seccomp says what the kernel's list of actions, or the error of reading it, means.
func seccomp(actions string, err error) checkup.Check {
	if err == nil && strings.Contains(actions, "kill_process") {
		return checkup.Fine("seccomp", "keepers are sandboxed with seccomp")
	}
	cause := "no kill_process"
	if err != nil {
		cause = fmt.Sprint(err)
	}
	return checkup.Failure("seccomp", "Use a kernel with CONFIG_SECCOMP_FILTER: keepers don't start without it.", "this kernel doesn't offer it (%s)", cause)
}
