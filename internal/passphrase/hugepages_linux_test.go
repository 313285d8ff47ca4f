package passphrase

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vigil/internal/keyring"
)

// childVariable makes the test's program derive once and say how much of its memory
// huge pages back.
const childVariable = "VIGIL_TEST_DERIVE"

// TestTheFirstDerivationUsesHugePages is what an opener does: derive once.
func TestTheFirstDerivationUsesHugePages(t *testing.T) {
	enabled, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || strings.Contains(string(enabled), "[never]") {
		t.Skip("this system has no transparent huge pages")
	}
	if os.Getenv(childVariable) == "" {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), childVariable+"=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	k := keyring.KDF{Name: keyring.KDFName, Memory: 256 << 10, Time: keyring.MinKDFTime, Lanes: 4}
	var d Deriver
	if err := d.Derive(make([]byte, KeySize), []byte("p"), k); err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`AnonHugePages: +(\d+) kB`).FindSubmatch(smaps)
	if m == nil {
		t.Fatalf("the kernel doesn't say: %s", smaps)
	}
	if kib, _ := strconv.Atoi(string(m[1])); kib < int(k.Memory)/2 {
		t.Errorf("huge pages back %d KiB of the %d that were derived in", kib, k.Memory)
	}
}
