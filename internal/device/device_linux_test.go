package device

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/envelope"
	"vigil/internal/guard"
)

// TestABusWithoutASecretService: a session of a server has a bus, and nothing on it that
// keeps secrets. The key is made in a file there, and found again.
func TestABusWithoutASecretService(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "dbus-daemon", "--session", "--nofork", "--print-address", "--address=unix:path="+filepath.Join(t.TempDir(), "bus"))
	cmd.Env = []string{"XDG_DATA_DIRS=" + t.TempDir(), "XDG_DATA_HOME=" + t.TempDir()} // no services
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // killed by the end of t.Context
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", strings.TrimSpace(address))
	slab, err := guard.NewSlab(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slab.Close() })
	d := New(t.TempDir(), slab, func(string) string { return address })
	if _, err := d.Where(t.Context()); err != ErrNoKey {
		t.Fatalf("before: %v", err)
	}
	c := envelope.Context("test")
	sealed, where, err := d.Seal(t.Context(), c, make([]byte, 32))
	if err != nil || where != InFile {
		t.Fatalf("the key is in the %s, %v", where, err)
	}
	if err := d.Open(t.Context(), make([]byte, 32), c, sealed); err != nil {
		t.Fatal(err)
	}
}
