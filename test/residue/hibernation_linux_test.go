package residue

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestALockedVigilLetsTheMachineHibernate: no process maps memfd_secret(2) memory while
// there is nothing to guard, or if the configuration says so. Linux doesn't hibernate
// while there is such a mapping, touched or not (secretmem_active in mm/secretmem.c).
func TestALockedVigilLetsTheMachineHibernate(t *testing.T) {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		t.Skipf("this kernel has no memfd_secret: %v", err)
	}
	check(t, unix.Close(fd))
	for name, tt := range map[string]struct {
		config string
		guards bool // by secret memory
	}{
		"as it is":            {"", true},
		"mlock is configured": {"secret_memory = \"mlock\"\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.config)
			w.vigilctl("init", "--unlock", "--passphrase-file", w.passFile, "--kdf-memory=64", "--kdf-parallelism=1")
			w.vigilctl("generate", "laptop")
			w.wantSecretMemory("with an unlocked vault", tt.guards)
			w.vigilctl("lock")
			w.wantSecretMemory("after lock", false)

			key := filepath.Join(w.dir, "key")
			w.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
			for _, end := range [][]string{{"-d", key}, {"-D"}} {
				w.run("ssh-add", "-q", key)
				w.wantSecretMemory("with an added key", tt.guards)
				w.run("ssh-add", append([]string{"-q"}, end...)...)
				w.wantSecretMemory("after ssh-add "+end[0], false)
			}
			w.run("ssh-add", "-q", "-t", "1", key)
			w.wantSecretMemory("after the last key has expired", false)
		})
	}
}

// wantSecretMemory waits until some process maps secret memory, or none does.
func (w *world) wantSecretMemory(when string, some bool) {
	w.t.Helper()
	for began := time.Now(); ; <-time.After(10 * time.Millisecond) {
		var found []string
		for _, p := range w.processes() {
			maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.pid))
			if err == nil && bytes.Contains(maps, []byte("secretmem")) {
				found = append(found, p.role)
			}
		}
		if len(found) > 0 == some {
			return
		}
		if time.Since(began) > startDeadline {
			w.t.Fatalf("%s: secret memory is mapped by %v", when, found)
		}
	}
}
