// Command vigild is the SSH agent: the front that listens, and, when it starts
// itself again in that role, a keeper that holds keys.
package main

import (
	"os"

	"vigil/internal/keeper"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == keeper.Role {
		os.Exit(keeper.Main(os.Args[2:]))
	}
	os.Exit(front(os.Args, os.Environ(), os.Stderr))
}
