package membership

import (
	"slices"
	"sync"
	"testing"

	"vigil/internal/control"
	"vigil/internal/testing/sshtest"
)

// TestRotate rotates while both homes sign.
func TestRotate(t *testing.T) {
	owner, other, dir := two(t, "member")
	stop := make(chan struct{})
	var signing sync.WaitGroup
	for _, h := range []*home{owner, other} {
		a := h.Client()
		signing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					if n == 0 {
						t.Error("nothing was signed during the rotations")
					}
					return
				default:
				}
				if err := sshtest.SignWith(a, "shared"); err != nil {
					t.Errorf("signature %d during a rotation: %v", n, err)
					return
				}
			}
		})
	}
	var r control.RotateReply
	owner.JSON(&r, "rotate")
	if r.KEK != 2 {
		t.Errorf("after a rotation the KEK is %d", r.KEK)
	}
	other.OK("refresh")
	owner.JSON(&r, owner.By("rotate", "--deks")...)
	if r.KEK != 3 || r.Renewed != 1 {
		t.Errorf("after a rotation with --deks: %+v", r)
	}
	close(stop)
	signing.Wait()

	members, deks := owner.Stored(dir)
	if got := members.KEKs(); !slices.Equal(got, []uint64{3}) || deks.KEK() != 3 {
		t.Errorf("live KEKs are %v, deks is under %d", got, deks.KEK())
	}
	if heads := slices.Collect(deks.Heads()); len(heads) != 1 || len(heads[0].Parents) != 1 {
		t.Errorf("heads after --deks: %+v", heads)
	}
	// The other was away for a rotation and a new DEK, and loses nothing.
	other.TakeVaultFile(owner.Home)
	other.OK("refresh")
	other.Signs("shared")
	other.AddKey("later")
	owner.TakeVaultFile(other.Home)
	owner.OK("refresh")
	owner.Signs("shared", "later")
}
