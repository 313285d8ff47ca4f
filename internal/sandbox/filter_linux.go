package sandbox

import (
	"fmt"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// allowed are the system calls that are let through whatever their arguments.
var allowed = []string{
	// Talking on the descriptors at hand, and waiting for them.
	"read", "write", "pread64", "recvmsg", "sendmsg", "shutdown", "close",
	"epoll_pwait", "epoll_ctl",
	// The runtime: memory, scheduling, time, signals, the end. pread64 reads the
	// CPU limit again from the cgroup file that is open. restart_syscall follows
	// SIGSTOP and SIGCONT.
	"munmap", "madvise", "futex", "nanosleep", "sched_yield", "sched_getaffinity",
	"clock_gettime", "getrandom", "getpid", "gettid", "restart_syscall",
	"rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "sigaltstack",
	"exit", "exit_group",
	// Threads of the C library, in builds that have one (-race).
	"rseq", "set_robust_list",
	// Growing guarded memory (guard.Slab). None of the three reaches outside: they
	// make, size and lock memory of this process, within its lock limit.
	"memfd_secret", "ftruncate", "mlock2",
}

// conditional are the system calls that are let through with some arguments
// only. Conditions in one list all hold; arguments count from 0.
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
		// It also names its memory mappings; where prctl is refused, it goes on, but
		// here it would be killed.
		only("prctl", is(0, unix.PR_SET_VMA)),
		// guard reads the lock limit to explain a refusal: own process, read only.
		only("prlimit64", is(0, 0), is(1, unix.RLIMIT_MEMLOCK), is(2, 0)),
	}
	// os.NewFile looks whether a descriptor blocks.
	for _, cmd := range []int{unix.F_GETFL, unix.F_SETFL, unix.F_GETFD, unix.F_SETFD} {
		list = append(list, only("fcntl", is(1, cmd)))
	}
	return list
}

// filter is the policy for the process pid: what isn't listed kills it. Killing
// is right where returning an error would let an attacker go on probing, and
// where a trap would make the runtime print registers.
func filter(pid int) seccomp.Policy {
	groups := []seccomp.SyscallGroup{
		{Action: seccomp.ActionAllow, Names: allowed, NamesWithCondtions: conditional(pid)},
		// Flags of clone3 lie in memory, where a filter can't see them. The C library
		// falls back to clone.
		{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
	}
	if raceBuild {
		// The race detector's runtime looks at files under /sys and /proc when it
		// grows, and lives with a refusal.
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
		// Without TSYNC_ESRCH a thread that can't be brought along is reported as
		// a positive result, which the library takes for success.
		Flag:   seccomp.FilterFlagTSync | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
		Policy: p,
	}
	if err := seccomp.LoadFilter(f); err != nil {
		return fmt.Errorf("load seccomp filter: %w", err)
	}
	return nil
}
