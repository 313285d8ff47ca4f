package attack

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"vigil/internal/keyring"
	"vigil/internal/testing/sshtest"
)

// TestEpochsAreUsedUp: promise 10. A member writes deks with the last number that
// there is: the next write would be one that nobody can read. A device that has
// seen earlier ones refuses the leap; one that hasn't takes it, and an owner's
// next KEK starts from 1.
func TestEpochsAreUsedUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		epoch  uint64
		status int
		says   string
	}{
		"the last":        {keyring.MaxEpoch, sshtest.StatusRefused, "is more than 1048576 after epoch"},
		"beyond the last": {1<<53 - 1, sshtest.StatusFailed, "epochs end at 4294967296"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			owner, other, dir := two(t, "member")
			insider := other.Inside(dir, memberPassphrase)
			stored := string(owner.Read(dir + "/deks"))
			body := stored[:strings.LastIndex(strings.TrimSuffix(stored, "\n"), "\n")+1]
			body = strings.Replace(body, fmt.Sprintf(`"epoch":%d,`, insider.Deks.Epoch()), fmt.Sprintf(`"epoch":%d,`, tc.epoch), 1)
			writer, _, _ := strings.Cut(body[strings.Index(body, `"by":"`)+len(`"by":"`):], `"`)
			body = strings.Replace(body, writer, insider.ID.String(), 1)
			insider.Put("deks", insider.EndDeks([]byte(body)))

			owner.Fails(tc.status, []string{tc.says}, "refresh")
			owner.Signs("shared")
			if v := owner.Vault(); v.Problem == "" {
				t.Error("status shows nothing")
			}
			owner.Fails(tc.status, []string{tc.says}, "generate", "more")
			if !bytes.Equal(owner.Read(dir+"/deks"), insider.EndDeks([]byte(body))) {
				t.Error("what is refused was overwritten, and nobody asked for it")
			}
			canAct(t, owner, other)
		})
	}
}
