//go:build !goexperiment.runtimesecret

package guard

// Do runs f. This build lacks runtime/secret (GOEXPERIMENT=runtimesecret), so
// nothing is erased.
func Do(f func()) { f() }

// DoErases reports whether Do erases anything in this build.
const DoErases = false
