package passphrase

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vigil/internal/keyring"
)

// childVariable makes the test's program derive once, and look at its memory.
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
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	// How many of them the kernel has at hand is another matter.
	if kib := advised(string(smaps)); kib < int(k.Memory)*3/4 {
		t.Errorf("%d KiB of the %d that were derived in are for huge pages", kib, k.Memory)
	}
}

// advised returns how many KiB in memory are in mappings that are for huge pages (hg).
func advised(smaps string) (kib int) {
	rss := 0
	for line := range strings.Lines(smaps) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "Rss":
			rss, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		case "VmFlags":
			if slices.Contains(strings.Fields(value), "hg") {
				kib += rss
			}
		}
	}
	return kib
}
