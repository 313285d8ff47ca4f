//go:build linux && amd64

package crash

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"vigil/internal/testing/sshtest"
)

var (
	kills  = flag.Int("kills", 6, "how many kills at random moments")
	every  = flag.Int("every", 80, "of the steps of a change, one in how many is a kill's")
	errs   = flag.Int("errors", 160, "of the steps of a change, one in how many fails with each error")
	setups = flag.Int("setups", 120, "of the steps of init and up, one in how many is a kill's")
	pairs  = flag.Int("pairs", 120, "of the steps of a change to a vault on two devices, one in how many is a kill's")
	only   = flag.String("only", "", "the one kind of change to look at")
	seed   = flag.Uint64("seed", 20261123, "seed of all random choices; another one each time finds more")
)

// smallDisk names the directory of a tmpfs in the tests' environment. Only root
// can make one.
const smallDisk = "CRASH_SMALL_DISK"

// smallDiskSize is room for a home and a few hundred writes of small vaults.
const smallDiskSize = "3m"

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getuid() == 0 && os.Getenv(smallDisk) == "" {
		if err := mountSmallDisk(); err != nil {
			fmt.Fprintln(os.Stderr, "crash: no small disk:", err)
		}
	}
	sshtest.MainTraceable(m, "vigild", "vigil-opener", "vigilctl")
}

// mountSmallDisk mounts a tmpfs that only this process and its children see,
// and that is gone when they are.
func mountSmallDisk() error {
	runtime.LockOSThread() // the tests are started from this thread
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	const dir = "/mnt"
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=1777,size="+smallDiskSize); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	return os.Setenv(smallDisk, dir)
}
