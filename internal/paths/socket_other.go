//go:build !linux

package paths

// MaxSocketPath is sockaddr_un.sun_path less its closing NUL, on macOS and the BSDs.
const MaxSocketPath = 103
