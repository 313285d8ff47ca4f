// Command vigil-opener does one job for vigild and ends: unlock, import, export,
// and everything that talks to the backend or the key management service. Only
// vigild starts it; see package vigil/internal/opener/job.
package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/opener"
	"vigil/internal/opener/job"
)

func main() {
	guard.NameProcess("vigil-opener") // it may have been started by the number of a descriptor
	if len(os.Args) > 1 || !connected() {
		fmt.Fprintln(os.Stderr, "vigil-opener is started by vigild; see vigilctl --help")
		os.Exit(2)
	}
	os.Exit(job.Run(context.Background()))
}

// connected reports whether opener.FrontFD is a stream socket, as vigild passes it.
func connected() bool {
	kind, err := unix.GetsockoptInt(opener.FrontFD, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_STREAM
}
