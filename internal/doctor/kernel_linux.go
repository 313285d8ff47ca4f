package doctor

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"vigil/internal/checkup"
)

// kernel says what this kernel offers of what keepers stand on.
func kernel() []checkup.Check {
	return []checkup.Check{secretMemory(), landlock(), seccomp()}
}

func secretMemory() checkup.Check {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		return checkup.Warning("memfd_secret", "Boot with secretmem.enable=1 on a kernel from 5.14 on; until then root, and hibernation, can read locked memory.",
			"this kernel doesn't offer it (%v): keys lie in locked memory", err)
	}
	_ = unix.Close(fd)
	return checkup.Fine("memfd_secret", "keys lie in memory that nobody else can read")
}

// lastABI is the version of Landlock from which on signals and abstract sockets
// are covered, too.
const lastABI = 6

func landlock() checkup.Check {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	switch {
	case errno != 0:
		return checkup.Warning("Landlock", "Boot a kernel with Landlock (lsm=landlock,…). The seccomp filter holds without it.", "this kernel doesn't offer it (%v)", errno)
	case abi < lastABI:
		return checkup.Fine("Landlock", "version %d; what it leaves out, the seccomp filter forbids", abi)
	}
	return checkup.Fine("Landlock", "version %d", abi)
}

func seccomp() checkup.Check {
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err == nil && strings.Contains(string(actions), "kill_process") {
		return checkup.Fine("seccomp", "a keeper that does what it needn't is killed")
	}
	cause := "no kill_process"
	if err != nil {
		cause = fmt.Sprint(err)
	}
	return checkup.Failure("seccomp", "Use a kernel with CONFIG_SECCOMP_FILTER: keepers don't start without it.", "this kernel doesn't offer it (%s)", cause)
}
