package doctor

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"vigil/internal/checkup"
)

// kernel checks the kernel features that keepers use.
func kernel() []checkup.Check {
	return []checkup.Check{secretMemory(), landlock(), seccomp()}
}

func secretMemory() checkup.Check {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		return checkup.Warning("memfd_secret", "Boot with secretmem.enable=1 on Linux 5.14 or later; until then root, and hibernation, can read locked memory.",
			"this kernel doesn't offer it (%v): keys are in locked memory", err)
	}
	_ = unix.Close(fd)
	return checkup.Fine("memfd_secret", "keys are in memory that no other process can read")
}

// lastABI is the first version of Landlock that also covers signals and abstract
// sockets.
const lastABI = 6

func landlock() checkup.Check {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	switch {
	case errno != 0:
		return checkup.Warning("Landlock", "Boot a kernel with Landlock (lsm=landlock,…). The seccomp filter works without it.", "this kernel doesn't offer it (%v)", errno)
	case abi < lastABI:
		return checkup.Fine("Landlock", "version %d; the seccomp filter forbids what it doesn't cover", abi)
	}
	return checkup.Fine("Landlock", "version %d", abi)
}

func seccomp() checkup.Check {
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err == nil && strings.Contains(string(actions), "kill_process") {
		return checkup.Fine("seccomp", "keepers are sandboxed with seccomp")
	}
	cause := "no kill_process"
	if err != nil {
		cause = fmt.Sprint(err)
	}
	return checkup.Failure("seccomp", "Use a kernel with CONFIG_SECCOMP_FILTER: keepers don't start without it.", "this kernel doesn't offer it (%s)", cause)
}
