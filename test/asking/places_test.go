package asking

import (
	"os"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

func nowhere(*sshtest.Home) []string { return []string{"PATH=" + os.Getenv("PATH")} }

// Whoever asks doesn't choose who answers: what a requester's environment says of displays,
// programs and terminals opens no prompt.
func TestARequesterChoosesNoPlace(t *testing.T) {
	p := newPerson(t, "", nowhere)
	p.answers(passphrase)
	own := askpass(p.Home)
	reason, next := p.isRefused(
		"SSH_ASKPASS="+own, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:99", "WAYLAND_DISPLAY=wayland-9", "XAUTHORITY=/dev/null",
		"GPG_TTY=/dev/tty", "DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere", "PINENTRY_USER_DATA="+own,
	)
	if asked := p.asked(); len(asked) != 0 {
		t.Errorf("it was asked: %q", asked)
	}
	if !strings.HasPrefix(reason, "vault default is locked, and nobody can be asked: neither DISPLAY nor WAYLAND_DISPLAY is set where vigild runs; ") {
		t.Errorf("refused: %s", reason)
	}
	if next != "Unlock it: vigilctl unlock --vault default, or have `vigilctl ask` wait for requests in a terminal. What else it takes to be asked: docs/asking.md." {
		t.Errorf("advice: %s", next)
	}
	if reason, _ := p.isRefused(); strings.Contains(reason, "nobody is asked for another") {
		t.Errorf("nobody was asked, but is not asked any more: %s", reason)
	}
}

// Its askpass program isn't used either where someone else is asked.
func TestARequesterChoosesNoProgram(t *testing.T) {
	p := newPerson(t, "", byAskpass)
	p.answers(passphrase)
	evil := p.Write("evil", "#!/bin/sh\necho >>'"+p.Path("caught")+"'\n")
	if err := os.Chmod(evil, 0o700); err != nil {
		t.Fatal(err)
	}
	p.logsIn("SSH_ASKPASS="+evil, "SSH_ASKPASS_REQUIRE=force", "PATH="+p.Dir+":"+os.Getenv("PATH"))
	if _, err := os.Stat(p.Path("caught")); err == nil || len(p.asked()) != 1 {
		t.Errorf("the requester's program was asked (%v), Vigil's %d times", err == nil, len(p.asked()))
	}
}

func TestARefusalStaysOne(t *testing.T) {
	p := newPerson(t, "locked = \"refuse\"\n", byAskpass)
	p.answers(passphrase)
	if reason, next := p.isRefused(); reason != "vault default is locked" || next != "Unlock it: vigilctl unlock --vault default" || len(p.asked()) > 0 {
		t.Errorf("refused: %s, %s; asked %q", reason, next, p.asked())
	}
}

// The desktop is where the manager of the user's services has it at the request, which may
// be later than vigild's start. The program is vigild's own.
func TestTheDesktopIsWhereItIsNow(t *testing.T) {
	p := newPerson(t, "", func(h *sshtest.Home) []string {
		systemctl := h.Write("bin/systemctl", "#!/bin/sh\ncat '"+h.Path("manager")+"'\n")
		program := h.Write("askpass-there", "#!/bin/sh\nprintf '%s|%s|%s\\n' \"$DISPLAY\" \"$WAYLAND_DISPLAY\" \"$HOME\" >'"+h.Path("where")+"'\nexec '"+askpass(h)+"' \"$@\"\n")
		for _, path := range []string{systemctl, program} {
			if err := os.Chmod(path, 0o700); err != nil {
				h.Fatal(err)
			}
		}
		h.Write("run/systemd/private", "")
		return []string{"SSH_ASKPASS=" + program, "DISPLAY=", "WAYLAND_DISPLAY=", "PATH=" + h.Path("bin") + ":" + os.Getenv("PATH")}
	})
	p.answers(passphrase)
	p.Write("manager", "LANG=C\nSSH_ASKPASS=/nowhere\n")
	if reason, _ := p.isRefused(); !strings.Contains(reason, "nobody can be asked") {
		t.Errorf("refused: %s", reason)
	}
	p.Write("manager", "DISPLAY=:7\nSSH_ASKPASS=/nowhere\nHOME=/nowhere\nLD_PRELOAD=/nowhere.so\n")
	p.logsIn()
	if where := string(p.Read(p.Path("where"))); where != ":7||"+p.Dir+"\n" {
		t.Errorf("asked at %q", where)
	}
}
