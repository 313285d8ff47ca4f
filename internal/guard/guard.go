// Package guard keeps secrets in memory that nothing outside the process can
// read, and hardens the process around them. It is the only package of Vigil
// that uses unsafe.
//
// A [Slab] is a region of guarded memory from which [Buffer]s are allocated. On
// Linux it is memfd_secret(2) memory, whose pages are in no page tables but the
// process's own: not even root can read them through /proc/PID/mem, and they are
// never swapped or dumped. On a kernel without memfd_secret, and on macOS, it is
// anonymous memory that is locked and excluded from core files, between pages that
// fault; root, and a debugger that may attach, can read that.
//
// Locked memory is a memguard.LockedBuffer for each segment of a slab, not for each key,
// which would take at least three pages.
//
// Pages are not made inaccessible between uses: secret memory can't be read from
// outside anyway, and page protection doesn't stop a reader who may read another
// process's memory.
//
// [Do] and [Sweeper] erase what passes through registers, stack and heap while a
// secret is used.
package guard

import "runtime"

// Wipe overwrites b with zeros. The caller owns b and nobody else may be using it.
//
//go:noinline
func Wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(&b)
}

// Copy copies a secret from src to dst as copy does, inside [Do]. Otherwise the
// secret would stay in the processor's registers, which a signal, such as the
// runtime's preemption signal, saves in ordinary memory.
func Copy(dst, src []byte) (n int) {
	Do(func() { n = copy(dst, src) })
	return n
}
