// Package guard keeps secrets in memory that nothing outside the process can
// read, and hardens the process around them. It is the only package of Vigil
// that uses unsafe.
//
// A [Slab] is one region of guarded memory from which [Buffer]s are cut. On
// Linux it lies on memfd_secret(2), whose pages are in nobody's page tables but
// the process's own: not even root reads them through /proc/PID/mem, they are
// never swapped and never dumped. Where the kernel has no memfd_secret, and on
// macOS, it is anonymous memory that is locked and left out of core files; there
// root, and a debugger that may attach, can read it.
//
// The mapping is plain mmap and mlock instead of a memguard.LockedBuffer: that
// takes three pages and more for every key, and at the lock limit it purges
// every secret of the process and panics, which would let whoever adds keys take
// the others away.
//
// Pages are not made inaccessible between uses: secret memory can't be read from
// outside anyway, and where it is missing, who may read another process's memory
// is not held up by its page protection.
//
// What passes through registers, stack and heap while a secret is used is the
// affair of [Do] and [Sweeper].
package guard

import "runtime"

// Wipe overwrites b with zeros. The caller owns b and nobody else may be using it.
//
//go:noinline
func Wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(&b)
}

// Copy copies a secret from src to dst as copy does, inside [Do]: else it would
// stay in the processor's registers, and a signal, such as the runtime sends to
// preempt, would save them in ordinary memory.
func Copy(dst, src []byte) (n int) {
	Do(func() { n = copy(dst, src) })
	return n
}
