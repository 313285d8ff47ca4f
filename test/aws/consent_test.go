package aws

import (
	"testing"

	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// TestLooseningWithoutNetwork: what restricts a key needs neither passphrase nor network.
// What lets it do more takes both factors: while a share is kept, the passphrase and that.
func TestLooseningWithoutNetwork(t *testing.T) {
	t.Run("with a kept share", func(t *testing.T) {
		w := newWorld(t)
		l := w.laptop(w.alice)
		l.init()
		l.Unlock()
		l.AddKey("work")
		reconnect := w.faults("", awsfake.Fault{Drop: true})
		l.OK("edit", "work", "--confirm")
		l.Fails(sshtest.StatusWrong, []string{"wrong passphrase"}, "edit", "work", "--confirm=false", "--passphrase-file", l.Write("guess", "guess"))
		l.OK(l.By("edit", "work", "--confirm=false")...)
		l.Signs("work")
		reconnect()
		l.OK("refresh")
		if v := l.Vault(); v.Pending != 0 {
			t.Errorf("%d changes still wait", v.Pending)
		}
	})
	t.Run("without one", func(t *testing.T) {
		w := newWorld(t)
		l := w.laptop(w.alice, `offline = "0"`)
		l.init()
		l.Unlock()
		l.AddKey("work")
		reconnect := w.faults("kms:", awsfake.Fault{Drop: true})
		l.OK("edit", "work", "--confirm")
		for _, args := range [][]string{{"edit", "work", "--confirm=false"}, {"rm", "work", "--yes"}} {
			l.Fails(sshtest.StatusUnreachable, []string{"Nothing was changed. It takes the passphrase and the master key: try again when both can be had."}, l.By(args...)...)
		}
		if l.Sign("work") == nil {
			t.Error("it signs without a confirmation")
		}
		reconnect()
		l.OK(l.By("edit", "work", "--confirm=false")...)
		l.Signs("work")
	})
}
