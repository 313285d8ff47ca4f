package test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vigil/internal/testing/sshtest"
)

func dial(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

// vaultAdd imports private key files into the default vault. Of ssh-add's
// options it knows -h, which `vigilctl edit` sets on an item.
func vaultAdd(ts *testscript.TestScript, args []string) {
	var destinations []string
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-h":
			i++
			destinations = append(destinations, "--destination", args[i])
		case "-H":
			i++
			destinations = append(destinations, "--known-hosts", args[i])
		default:
			ts.Check(ts.Exec("vigilctl", "add", ts.MkAbs(args[i])))
			if len(destinations) > 0 {
				ts.Check(ts.Exec("vigilctl", append([]string{"edit", args[i]}, destinations...)...))
			}
		}
	}
}

// initArguments make the default vault and leave it unlocked, with a cheap
// Argon2id: most scripts are not about it.
func initArguments(ts *testscript.TestScript) []string {
	return append([]string{"init", "--unlock", "--passphrase-file", ts.Getenv("PASS")}, sshtest.CheapKDF...)
}

// approveNothing has the default vault's keys sign for everyone, as those of ssh-add do.
func approveNothing(ts *testscript.TestScript) {
	dir := ts.MkAbs("home/config/vigil")
	if _, err := os.Stat(dir); err == nil {
		return // the script's own
	}
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(os.WriteFile(filepath.Join(dir, "config.toml"), []byte("[vault.default]\napprove = \"never\"\n"), 0o600))
}

// startDaemon starts vigild in the script's home, in the foreground of the test.
func startDaemon(ts *testscript.TestScript) {
	a, err := sshtest.StartVigild(ts.Getenv("HOME"), sshtest.Binary(testingT(ts), "vigild"),
		"SSH_ASKPASS="+ts.Getenv("SSH_ASKPASS"), "SSH_ASKPASS_REQUIRE="+ts.Getenv("SSH_ASKPASS_REQUIRE"))
	ts.Check(err)
	serveBy(ts, a)
}

func testingT(ts *testscript.TestScript) testing.TB {
	return ts.Value(testKey{}).(testing.TB)
}

// testKey is where setUp leaves the test of a script.
type testKey struct{}

// stopDaemon ends a daemon that the script started, if there is one.
func stopDaemon(env []string) {
	path := filepath.Join(sshtest.BinaryDir(), "vigilctl")
	if _, err := os.Stat(path); err != nil {
		return
	}
	cmd := exec.Command(path, "down")
	cmd.Env = env
	_ = cmd.Run() // what it leaves running fails the suite
}
