//go:build !linux

package unixsock

// CloseOnExec keeps every descriptor but the standard ones from the programs
// that are started from now on: a shell may have left any open.
func CloseOnExec() { closeLowOnExec() }
