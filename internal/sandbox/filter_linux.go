package sandbox

import (
	"fmt"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// allowed are the system calls that are allowed with any arguments.
var allowed = []string{
	// I/O on the open descriptors, and waiting for it.
	"read", "write", "pread64", "recvmsg", "sendmsg", "shutdown", "close",
	"epoll_pwait", "epoll_ctl",
	// The runtime: memory, scheduling, time, signals, exit. pread64 rereads the
	// CPU limit from the open cgroup file. restart_syscall follows SIGSTOP and
	// SIGCONT.
	"munmap", "madvise", "futex", "nanosleep", "sched_yield", "sched_getaffinity",
	"clock_gettime", "getrandom", "getpid", "gettid", "restart_syscall",
	"rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "sigaltstack",
	"exit", "exit_group",
	// Threads of the C library, in builds that have one (-race).
	"rseq", "set_robust_list",
	// Growing guarded memory (guard.Slab), and giving it back. They affect only this
	// process: they create, size and lock its memory, within its lock limit.
	"memfd_secret", "ftruncate", "mlock", "munlock",
}

// conditional returns the system calls that are allowed only with some arguments. All
// conditions in one list must hold; arguments are numbered from 0.
func conditional(pid int) []seccomp.NameWithConditions {
	only := func(name string, c ...seccomp.Condition) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: c}
	}
	is := func(arg uint32, v int) seccomp.Condition {
		return seccomp.Condition{Argument: arg, Operation: seccomp.Equal, Value: uint64(v)}
	}
	notExecutable := seccomp.Condition{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}
	list := []seccomp.NameWithConditions{
		only("mmap", notExecutable),
		only("mprotect", notExecutable),
		// Threads, never processes.
		only("clone", seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}),
		// The runtime preempts its own threads with a signal.
		only("tgkill", is(0, pid)),
		// It also names its memory mappings. It ignores errors of prctl, but the filter
		// would kill it.
		only("prctl", is(0, unix.PR_SET_VMA)),
		// guard reads the lock limit to explain a refusal: own process, read only.
		only("prlimit64", is(0, 0), is(1, unix.RLIMIT_MEMLOCK), is(2, 0)),
	}
	// os.NewFile checks whether a descriptor is blocking.
	for _, cmd := range []int{unix.F_GETFL, unix.F_SETFL, unix.F_GETFD, unix.F_SETFD} {
		list = append(list, only("fcntl", is(1, cmd)))
	}
	return list
}

// filter returns the policy for the process pid: any system call not listed kills it.
// Returning an error would let an attacker keep probing, and a trap would make the
// runtime print registers.
func filter(pid int) seccomp.Policy {
	groups := []seccomp.SyscallGroup{
		{Action: seccomp.ActionAllow, Names: allowed, NamesWithCondtions: conditional(pid)},
		// Flags of clone3 are in memory, where a filter can't see them. The C library
		// falls back to clone.
		{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
	}
	if raceBuild {
		// The race detector's runtime reads files under /sys and /proc when it grows,
		// and tolerates errors.
		groups = append(groups, seccomp.SyscallGroup{
			Action: seccomp.ActionErrno | seccomp.Action(unix.EPERM), Names: []string{"openat", "readlinkat"},
		})
	}
	return seccomp.Policy{DefaultAction: seccomp.ActionKillProcess, Syscalls: groups}
}

// load installs a policy on every thread of the process, or on none.
func load(p seccomp.Policy) error {
	f := seccomp.Filter{
		NoNewPrivs: true,
		// Without TSYNC_ESRCH, a thread that can't be synchronised is reported as a
		// positive result, which the library takes for success.
		Flag:   seccomp.FilterFlagTSync | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
		Policy: p,
	}
	if err := seccomp.LoadFilter(f); err != nil {
		return fmt.Errorf("load seccomp filter: %w", err)
	}
	return nil
}
