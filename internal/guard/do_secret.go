//go:build goexperiment.runtimesecret

package guard

import "runtime/secret"

// Do runs f and erases what it leaves behind: its registers and stack before Do
// returns, and its heap memory at the garbage collection that finds it unreachable
// (see [Sweeper]). This works on linux/amd64 and linux/arm64, for f's own goroutine
// only, and not for package variables that f writes. Put a result that may stay in
// memory allocated before Do. Panics of f pass through.
func Do(f func()) { secret.Do(f) }

// DoErases reports whether Do erases anything in this build.
const DoErases = doPlatform
