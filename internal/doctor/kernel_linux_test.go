package doctor

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"vigil/internal/checkup"
	"vigil/internal/guard"
)

// TestKernelsThatLackSomething: what each answer of a kernel means, and what to do.
func TestKernelsThatLackSomething(t *testing.T) {
	for name, tc := range map[string]struct {
		got          checkup.Check
		want         checkup.Result
		detail, next string
	}{
		"no memfd_secret": {
			secretMemory(guard.SecretMemory, syscall.ENOSYS), checkup.Warn, "this kernel doesn't offer it (function not implemented): keys are in locked memory",
			"Boot with secretmem.enable=1 on Linux 5.14 or later; until then root, and hibernation, can read locked memory.",
		},
		"memfd_secret": {
			secretMemory(guard.SecretMemory, nil), checkup.OK,
			"keys are in memory that no other process can read; Linux hibernates only while Vigil is locked", "",
		},
		"memfd_secret isn't wanted": {
			secretMemory(guard.LockedMemory, nil), checkup.OK, "not used, as config.toml says: root, and hibernation, can read unlocked keys", "",
		},
		"no Landlock": {
			landlock(0, syscall.EOPNOTSUPP), checkup.Warn, "this kernel doesn't offer it (operation not supported)",
			"Boot a kernel with Landlock (lsm=landlock,…). The seccomp filter works without it.",
		},
		"an early Landlock": {landlock(lastABI-1, 0), checkup.OK, "the seccomp filter forbids what it doesn't cover", ""},
		"Landlock":          {landlock(lastABI, 0), checkup.OK, "version 6", ""},
		"no seccomp": {
			seccomp("", fs.ErrNotExist), checkup.Fail, "this kernel doesn't offer it (file does not exist)",
			"Use a kernel with CONFIG_SECCOMP_FILTER: keepers don't start without it.",
		},
		"an early seccomp": {
			seccomp("kill trap errno trace allow", nil), checkup.Fail, "this kernel doesn't offer it (no kill_process)",
			"Use a kernel with CONFIG_SECCOMP_FILTER: keepers don't start without it.",
		},
		"seccomp": {seccomp("kill_process kill_thread", nil), checkup.OK, "keepers are sandboxed with seccomp", ""},
	} {
		if tc.got.Result != tc.want || !strings.Contains(tc.got.Detail, tc.detail) || tc.got.Next != tc.next {
			t.Errorf("%s: %+v, want %s, %q, next %q", name, tc.got, tc.want, tc.detail, tc.next)
		}
	}
}
