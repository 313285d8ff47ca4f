package residue

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"testing"

	"vigil/internal/guard"
	"vigil/internal/testing/sshtest"
)

// wanted is set in the environment by `make residue`.
const wanted = "VIGIL_RESIDUE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(naiveMode); mode != "" {
		if err := naive(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	switch {
	case os.Getenv(wanted) == "":
		fmt.Println("skipped: run by `make residue`, as root")
		os.Exit(0)
	case os.Getuid() != 0:
		fmt.Fprintln(os.Stderr, "residue: only root can read other processes' memory: run `sudo make residue`")
		os.Exit(1)
	case sshtest.RaceEnabled || !guard.DoErases:
		fmt.Fprintln(os.Stderr, "residue: needs GOEXPERIMENT=runtimesecret and no race detector: run `make residue`")
		os.Exit(1)
	}
	sshtest.MainAsObserver(m, "vigild", "vigil-opener", "vigilctl", "vigil-meter")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func random(t *testing.T) string {
	t.Helper()
	var b [16]byte
	_, err := rand.Read(b[:])
	check(t, err)
	return hex.EncodeToString(b[:])
}
