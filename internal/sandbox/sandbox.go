// Package sandbox restricts a keeper to computing, and to I/O on its open
// descriptors. The sandbox is applied before the first secret arrives, and can't be
// removed.
//
// On Linux it consists of: not dumpable, no core file, a small limit on descriptors,
// no new privileges, a Landlock domain that allows no path, port or peer, and a
// seccomp filter that kills the process at any system call that Go's runtime, guarded
// memory and the keeper's sockets don't need. On macOS there is only what
// guard.Harden sets, and Apply reports the rest as missing.
//
// A sandboxed process must read and write with raw descriptors or os.NewFile.
// net.FileConn, opening a file, starting a program, looking up a local time zone and
// profiling kill it.
package sandbox

// Report describes the sandbox in force.
type Report struct {
	// Seccomp: a system call that isn't on the list kills the process.
	Seccomp bool
	// Landlock is the version of the Landlock ABI in force, or 0. It covers TCP
	// since 4, and signals and abstract sockets since 6. The seccomp filter forbids
	// what an older version doesn't cover.
	Landlock int
	// Missing names the parts that this system lacks, for status.
	Missing []string
}
