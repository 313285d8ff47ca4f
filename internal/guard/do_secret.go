//go:build goexperiment.runtimesecret

package guard

import "runtime/secret"

// Do runs f so that nothing it computed stays behind: its registers and stack
// are erased before Do returns, what it allocated on the heap is erased by the
// garbage collection that finds it unreachable (see [Sweeper]). It holds for
// linux on amd64 and arm64, for f's own goroutine only, and not for package
// variables f writes. A result that may stay belongs in memory allocated before
// Do. Panics of f pass through.
func Do(f func()) { secret.Do(f) }

// DoErases reports whether Do erases anything in this build.
const DoErases = doPlatform
