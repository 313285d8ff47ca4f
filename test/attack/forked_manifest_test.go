package attack

import (
	"testing"

	"vigil/internal/testing/sshtest"
)

// TestAForkWithALaterEpoch: promises 6, 7 and 9. Whoever keeps the keyring shows
// each of two devices only its own writes, and then the longer history to the
// other one: what was removed there must not sign again, what was saved must not
// vanish, and it is shown.
func TestAForkWithALaterEpoch(t *testing.T) {
	t.Parallel()
	owner, other, dir := two(t, "owner")
	owner.AddKey("gone")
	other.TakeVaultFile(owner)
	other.OK("refresh")
	store := &keeperOfStores{t: t, dir: dir}
	common := store.read()

	owner.OK(owner.By("rm", "gone", "--yes")...)
	owner.AddKey("saved")
	store.write(common) // what the other device is shown
	for _, host := range []string{"a", "b", "c", "d"} {
		other.OK("edit", "shared", "--host", host)
	}

	for _, when := range []string{"at once", "after a restart"} {
		if when == "at once" {
			if r := owner.Vigilctl("refresh"); r.Status == 0 {
				t.Errorf("a fork was accepted: %s", r)
			}
		} else {
			owner.Restart()
			owner.Unlock()
		}
		owner.Signs("shared", "saved")
		if owner.Sign("gone") == nil {
			t.Errorf("%s: a removed key signs again", when)
		}
		if v := owner.Vault(); v.Problem == "" {
			t.Errorf("%s: status shows nothing: %+v", when, v)
		}
	}

	// Who wants the other history all the same, says so.
	owner.OK(owner.By("keyring", "restore", "--accept")...)
	owner.Signs("shared")
	if v := owner.Vault(); v.Problem != "" {
		t.Errorf("after --accept: %+v", v)
	}
}

// keeperOfStores is who keeps a keyring in a folder, and what they do with it.
type keeperOfStores struct {
	t   *testing.T
	dir string
}

type objects struct{ members, deks []byte }

func (k *keeperOfStores) read() (o objects) {
	h := &sshtest.Home{TB: k.t}
	return objects{h.Read(k.dir + "/members"), h.Read(k.dir + "/deks")}
}

func (k *keeperOfStores) write(o objects) {
	h := &sshtest.Home{TB: k.t}
	for name, data := range map[string][]byte{"members": o.members, "deks": o.deks} {
		h.PutObject(k.dir, name, data)
	}
}
