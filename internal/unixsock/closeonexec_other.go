//go:build !linux

package unixsock

// CloseOnExec makes all open descriptors but the standard ones close-on-exec, because
// a shell may have left any of them open.
func CloseOnExec() { closeLowOnExec() }
