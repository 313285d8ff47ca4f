package service

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

// account is whom Vigil runs as; tools/deps.sh makes it.
const account = "vigiltest"

// installed installs the tree below a prefix of its own, and returns the prefix.
func installed(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a user manager's surroundings")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("this system has no systemd")
	}
	if out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v: %s", err, out)
	}
	dir, err := os.MkdirTemp("/tmp", "vs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	prefix := filepath.Join(dir, "usr")
	run(t, "chmod", "755", dir)
	makeTarget(t, "install", prefix, "")
	return prefix
}

func makeTarget(t *testing.T, target, prefix, destdir string) {
	t.Helper()
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	run(t, "make", "-C", root, target, "PREFIX="+prefix, "DESTDIR="+destdir)
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// beside runs a script of testdata beside a user manager that knows the installed units.
func beside(t *testing.T, prefix, script string) {
	t.Helper()
	u, err := user.Lookup(account)
	if err != nil {
		t.Skipf("%v (make deps)", err)
	}
	home := filepath.Join(filepath.Dir(prefix), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(home, uid, gid); err != nil {
		t.Fatal(err)
	}
	// The tree may be in a folder that the user can't read.
	for _, name := range []string{"steps.sh", script} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(prefix), name), append([]byte("PATH="+prefix+"/bin:$PATH\n"), text...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "--mount-proc", "bash", filepath.Join("testdata", "manager.sh"),
		account, home, prefix+"/lib/systemd/user", filepath.Join(filepath.Dir(prefix), script)).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		log, _ := os.ReadFile(filepath.Join(home, "manager.log"))
		sshd, _ := os.ReadFile(filepath.Join(home, "sshd.log"))
		t.Fatalf("%s: %v\n%s\nmanager:\n%s\nsshd:\n%s", script, err, out, log, sshd)
	}
}

func TestLogInThroughASocketActivatedAgent(t *testing.T) {
	beside(t, installed(t), "login.sh")
}

// TestOwners: SSH_AUTH_SOCK is taken from nobody unsaid.
func TestOwners(t *testing.T) {
	beside(t, installed(t), "owners.sh")
}

func TestAnotherBuildBesideTheService(t *testing.T) {
	prefix := installed(t)
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	run(t, "make", "-C", root, "install", "PREFIX="+filepath.Join(filepath.Dir(prefix), "other"), "build_id=another")
	beside(t, prefix, "other-build.sh")
}

// TestAServiceAsksOnTheDesktop: also one that was started before it.
func TestAServiceAsksOnTheDesktop(t *testing.T) {
	beside(t, installed(t), "ask.sh")
}

// TestUnits: systemd understands every line of the units.
func TestUnits(t *testing.T) {
	beside(t, installed(t), "verify.sh")
}

// TestInstallAndUninstall: packages are made of a staged installation, which names the
// final places; what is removed leaves nothing but what was there.
func TestInstallAndUninstall(t *testing.T) {
	stage := t.TempDir()
	theirs := filepath.Join(stage, "usr/lib/systemd/user/other.service")
	if err := os.MkdirAll(filepath.Dir(theirs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	makeTarget(t, "install", "/usr", stage)
	for path, mode := range map[string]os.FileMode{
		"usr/libexec/vigil/vigild": 0o111, "usr/libexec/vigil/vigil-opener": 0o111, "usr/libexec/vigil/vigilctl": 0o111,
		"usr/libexec/vigil/vigil-meter":       0o111,
		"usr/lib/systemd/user/vigild.service": 0o644, "usr/lib/systemd/user/vigild.socket": 0o644, "usr/lib/systemd/user/vigild-control.socket": 0o644,
		"usr/lib/systemd/user-preset/90-vigil.preset": 0o644, "usr/share/man/man1/vigilctl.1": 0o644, "usr/share/man/man5/vigil-config.5": 0o644, "usr/share/man/man7/vigil.7": 0o644, "usr/share/man/man8/vigild.8": 0o644,
		"usr/share/bash-completion/completions/vigilctl": 0o644, "usr/share/zsh/site-functions/_vigilctl": 0o644,
		"usr/share/fish/vendor_completions.d/vigilctl.fish": 0o644,
	} {
		info, err := os.Lstat(filepath.Join(stage, path))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode || info.Size() == 0 {
			t.Errorf("%s has mode %o and %d bytes, want mode %o", path, info.Mode().Perm(), info.Size(), mode)
		}
	}
	for _, name := range []string{"vigild", "vigilctl"} {
		if to, err := os.Readlink(filepath.Join(stage, "usr/bin", name)); err != nil || to != "../libexec/vigil/"+name {
			t.Errorf("usr/bin/%s is a link to %q, %v", name, to, err)
		}
	}
	unit, err := os.ReadFile(filepath.Join(stage, "usr/lib/systemd/user/vigild.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/usr/libexec/vigil/vigild\n") || strings.Contains(string(unit), stage) {
		t.Errorf("the unit doesn't start /usr/libexec/vigil/vigild: %v", err)
	}
	makeTarget(t, "uninstall", "/usr", stage)
	left := run(t, "find", stage, "!", "-type", "d")
	if left != theirs+"\n" {
		t.Errorf("uninstalled, there is still:\n%s", left)
	}
}

// TestService: vigilctl turns the service on, off and on again, in the place of another agent.
func TestService(t *testing.T) { beside(t, installed(t), "service.sh") }

func TestServiceWithoutItsUnits(t *testing.T) {
	prefix := installed(t)
	run(t, "rm", "-r", prefix+"/lib/systemd/user")
	beside(t, prefix, "no-units.sh")
}

func TestAThousandKeysUnderTheUnitsLimits(t *testing.T) { beside(t, installed(t), "limits.sh") }

func TestTheUnitTakesWhatAUsersManagerCanDo(t *testing.T) { beside(t, installed(t), "exposure.sh") }
