package residue

import (
	"testing"
	"time"

	"vigil/internal/testing/sshtest"
)

// TestNothingIsLeftOfWhatIsTypedAtATerminal: the same as for askpass holds for the prompt
// of our own, on the terminal of a registered session and at a `vigilctl ask`, which goes on
// afterwards.
func TestNothingIsLeftOfWhatIsTypedAtATerminal(t *testing.T) {
	for name, begin := range map[string]string{
		"a registered session": "vigilctl session register; ssh-add -T laptop.pub; echo en''ded",
		"vigilctl ask":         "(sleep 0.1; setsid ssh-add -T laptop.pub </dev/null) & vigilctl ask",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.vigilctl("init", "--passphrase-file", w.passFile, "--kdf-memory=64", "--kdf-parallelism=1")
			w.vigilctl("unlock", "--passphrase-file", w.passFile)
			w.vigilctl("generate", "laptop")
			w.write("laptop.pub", []byte(w.vigilctl("show", "laptop", "--public")))
			w.vigilctl("lock")
			wrong := random(t)
			s := newSearch()
			check(t, s.add(form{name: "wrong", bytes: []byte(wrong)}, form{name: "right", bytes: w.pass[len(w.pass)-len(wrong):]}))
			find := func(when string, want ...string) {
				t.Helper()
				<-time.After(settle)
				w.nowhere(s, when, want...)
			}

			master, slave := newPTY(t)
			check(t, sshtest.Give(slave.Name()))
			cmd := w.command("sh", "-c", begin)
			cmd.Env = append(cmd.Env, "TERM=xterm", "PATH="+sshtest.BinaryDir()+":/usr/bin:/bin")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
			check(t, cmd.Start())
			slave.Close()
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			types := func(text string) {
				_, err := master.WriteString(text)
				check(t, err)
			}
			expect(t, master, "Passphrase: ")
			types(wrong + "\r")
			expect(t, master, "Passphrase: ")
			find("while it is asked again", "front", "vigilctl")
			types(string(w.pass) + "\r")
			over, role := "ended\r\n", "front"
			if name == "vigilctl ask" {
				over, role = "It is unlocked.\r\n", "vigilctl"
			}
			expect(t, master, over)
			find("unlocked", "front", "keeper", role)
		})
	}
}
