package passphrase

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// hugePage is the size in bytes of a huge page on the machines that Vigil runs on, for
// the part of an allocation that isn't aligned to it.
const hugePage = 2 << 20

// prepare has the kernel use huge pages for the memory that Argon2id takes next, size
// bytes. A process derives once, and with pages of 4 KiB would spend more time on 65,536
// page faults and on TLB misses than on the work itself, which costs an attacker the
// same either way.
//
// The argon2 package allocates its memory itself. So a span of that size is allocated,
// advised about and freed, and the allocator hands it out again. It isn't touched in
// between. If anything here fails, the derivation is only slower.
func prepare(size int) {
	advise(size)
	runtime.GC()
}

// advise allocates a span that is free again when it returns.
func advise(size int) {
	_ = unix.Madvise(make([]byte, size+hugePage), unix.MADV_HUGEPAGE)
}
