// Command vigil-meter estimates how hard the passphrase on its standard input is to
// guess, prints the bits of it, and ends. vigilctl starts it when a person chooses a
// passphrase that whoever has this device's disk can guess: what the estimate leaves in
// memory ends with the process. See vigil/internal/strength.
package main

import (
	"fmt"
	"io"
	"os"

	"vigil/internal/guard"
	"vigil/internal/strength"
)

// maxPassphrase is as long as what vigilctl lets people type, in bytes.
const maxPassphrase = 512

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "vigil-meter is started by vigilctl; see vigilctl --help")
		os.Exit(2)
	}
	// Unlike vigilctl, it does nothing useful: where it can't be hidden, it does nothing.
	if _, err := guard.Harden(); err != nil {
		os.Exit(1)
	}
	if err := guard.UntracedSelf(); err != nil {
		os.Exit(1)
	}
	passphrase := make([]byte, maxPassphrase)
	n, err := io.ReadFull(os.Stdin, passphrase)
	if err != nil && err != io.ErrUnexpectedEOF {
		os.Exit(1)
	}
	fmt.Printf("%.1f\n", strength.Bits(passphrase[:n]))
}
