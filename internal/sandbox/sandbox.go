// Package sandbox takes from a keeper everything but computing and talking on
// the descriptors it has. It is set before the first secret arrives, and can't
// be taken off.
//
// On Linux: not dumpable, no core, a small limit on descriptors, no new
// privileges, a Landlock domain without a single path, port or peer, and
// a seccomp filter that kills the process at any system call Go's runtime, the
// guarded memory and the keeper's sockets don't need. macOS has none of it but
// what guard.Harden sets, and Apply reports the rest as missing.
//
// A sandboxed process reads and writes with raw descriptors or os.NewFile.
// net.FileConn, opening a file, starting a program, looking up a local time zone
// and profiling kill it.
package sandbox

// Report says what is in force.
type Report struct {
	// Seccomp: a system call that isn't on the list kills the process.
	Seccomp bool
	// Landlock is the version of the Landlock ABI in force, 0 for none. From 4 on
	// it covers TCP, from 6 on signals and abstract sockets. What an older one
	// leaves out the seccomp filter forbids by itself.
	Landlock int
	// Missing names the parts this system doesn't have, for status.
	Missing []string
}
