// Package sshtest gives tests the real parts of an ssh set-up: OpenSSH's server
// on loopback, agents to speak to, Vigil's own binaries with homes to run them
// in, and an unprivileged user to run all of it as.
//
// A test package that starts programs calls Main from its TestMain. Main builds
// the binaries the package asks for, makes a directory for them and for
// everything the tests write, and runs the test program again inside it: as the
// user vigiltest when it was started by root, because peer uids, lock limits and
// unwritable directories mean nothing to root. When the tests are over, whatever
// they left running is killed, and having left something is a failure.
package sshtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// User is the account that tests started by root run as; `make deps` makes it.
const User = "vigiltest"

// worldVariable names the directory of a test run in the environment of the
// inner test program; its presence says that this is the inner one.
const worldVariable = "VIGIL_TEST_WORLD"

// Main runs the tests of m in a world of their own and exits. The binaries
// named (vigild, vigil-opener, vigilctl) are built first; Binary finds them.
func Main(m *testing.M, binaries ...string) { inWorld(m, set{binaries: binaries}) }

// MainTraceable is Main for tests that run the binaries under a tracer of theirs:
// other builds take no secret then.
func MainTraceable(m *testing.M, binaries ...string) {
	inWorld(m, set{binaries: binaries, traceable: true})
}

func inWorld(m *testing.M, s set) {
	if os.Getenv(worldVariable) != "" {
		os.Exit(m.Run())
	}
	status, err := outer(s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sshtest:", err)
		status = 1
	}
	os.Exit(status)
}

// World returns the directory of this test run: short enough for sockets, owned
// by the user the tests run as, removed at the end.
func World() string { return os.Getenv(worldVariable) }

// BinaryDir returns the directory that holds the binaries Main built and
// nothing else, for a PATH.
func BinaryDir() string { return filepath.Join(World(), "bin") }

// Binary returns the path of a binary that Main built. The test is skipped
// while the tree has no such command yet.
func Binary(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(BinaryDir(), name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		t.Skipf("the tree has no %s yet", name)
	}
	return path
}

// outer makes the world, runs the test program in it and returns its status.
func outer(s set) (status int, err error) {
	world, account, err := makeWorld(s)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(world)
	return runInside(account, innerArguments(os.Args), innerEnvironment(world, account))
}

// makeWorld makes the directory of a test run with the binaries in it. Whoever
// calls it removes the directory.
func makeWorld(s set) (world string, a account, err error) {
	if world, err = os.MkdirTemp("/tmp", "vt"); err != nil {
		return "", a, err
	}
	if a, err = fillWorld(world, s); err != nil {
		_ = os.RemoveAll(world)
		return "", a, err
	}
	return world, a, nil
}

func fillWorld(world string, s set) (a account, err error) {
	if err := os.Chmod(world, 0o755); err != nil {
		return a, err
	}
	if a, err = lookUpAccount(); err != nil {
		return a, err
	}
	bin := filepath.Join(world, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return a, err
	}
	if err := install(bin, s); err != nil {
		return a, err
	}
	for _, name := range []string{"home", "tmp", "w"} {
		dir := filepath.Join(world, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return a, err
		}
		if err := a.own(dir); err != nil {
			return a, err
		}
	}
	return a, nil
}

// innerArguments drops the flags that name files of `go test` which only its own
// user may write. Without a test log nothing is cached, which is right here: the
// tests depend on binaries that `go test` knows nothing of.
func innerArguments(args []string) []string {
	var kept []string
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-test.testlogfile=") {
			kept = append(kept, arg)
		}
	}
	return kept
}

// innerEnvironment is the environment of the tests: the caller's, without what
// would let them find the caller's own agent, keys, configuration or session.
func innerEnvironment(world string, a account) []string {
	var env []string
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		switch {
		case strings.HasPrefix(name, "SSH_"), strings.HasPrefix(name, "XDG_"),
			strings.HasPrefix(name, "AWS_"), strings.HasPrefix(name, "GIT_"),
			strings.HasPrefix(name, "VIGIL_"),
			name == "HOME", name == "TMPDIR", name == "USER", name == "LOGNAME",
			name == "DISPLAY", name == "WAYLAND_DISPLAY", name == "DBUS_SESSION_BUS_ADDRESS":
			continue
		}
		env = append(env, setting)
	}
	if RaceEnabled { // or each binary sleeps for a second at its end
		env = append(env, "GORACE=atexit_sleep_ms=0")
	}
	return append(env,
		worldVariable+"="+world,
		"HOME="+filepath.Join(world, "home"),
		"TMPDIR="+filepath.Join(world, "tmp"),
		"USER="+a.name, "LOGNAME="+a.name)
}
