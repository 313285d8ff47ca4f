// Package sshtest gives tests a real ssh environment: OpenSSH's server on loopback,
// agents, Vigil's binaries with homes to run them in, and an unprivileged user.
//
// A test package that starts programs calls Main from its TestMain. Main builds the
// requested binaries, makes a directory for them and everything the tests write, and
// runs the test program again inside it. If root started it, that runs as the user
// vigiltest, because peer uids, lock limits and unwritable directories mean nothing to
// root. After the tests, whatever they left running is killed, and makes the run fail.
package sshtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// User is the account of tests that root starts; `make deps` creates it.
const User = "vigiltest"

// worldVariable names a test run's directory in the environment of the inner test
// program. Only the inner program has it.
const worldVariable = "VIGIL_TEST_WORLD"

// Main runs the tests of m in their own world and exits. It first builds the named
// binaries (vigild, vigil-opener, vigilctl); Binary finds them.
func Main(m *testing.M, binaries ...string) { inWorld(m, set{binaries: binaries}) }

// MainTraceable is Main for tests that trace the binaries: other builds then accept
// no secret.
func MainTraceable(m *testing.M, binaries ...string) {
	inWorld(m, set{binaries: binaries, traceable: true})
}

// MainUpgrade is Main for tests that replace the binaries by those of another build, which
// are in NextDir. The user that runs the tests owns both.
func MainUpgrade(m *testing.M, binaries ...string) {
	inWorld(m, set{binaries: binaries, next: true})
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

// World returns this test run's directory. Its path is short enough for sockets; the
// user that runs the tests owns it; it is removed at the end.
func World() string { return os.Getenv(worldVariable) }

// BinaryDir returns the directory with only the binaries that Main built, for a PATH.
func BinaryDir() string { return filepath.Join(World(), "bin") }

// NextDir returns the directory with another build's binaries, for [MainUpgrade].
func NextDir() string { return filepath.Join(World(), "next") }

// Binary returns the path of a binary that Main built. It skips the test if the tree
// has no such command.
func Binary(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(BinaryDir(), name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		t.Skipf("the tree has no %s yet", name)
	}
	return path
}

// outer makes the world, runs the test program in it and returns the exit status.
func outer(s set) (status int, err error) {
	world, account, err := makeWorld(s)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(world)
	return runInside(account, innerArguments(os.Args), innerEnvironment(world, account))
}

// makeWorld makes a test run's directory with the binaries in it. The caller removes it.
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
	builds := map[string]set{"bin": {s.binaries, s.traceable, false}}
	if s.next {
		builds["next"] = s
	}
	for name, build := range builds {
		dir := filepath.Join(world, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return a, err
		}
		if err := install(dir, build); err != nil {
			return a, err
		}
		if !s.next {
			continue
		}
		all, err := filepath.Glob(filepath.Join(dir, "*"))
		for _, path := range append(all, dir) {
			err = errors.Join(err, a.own(path))
		}
		if err != nil {
			return a, err
		}
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

// innerArguments drops the flags that name files which only `go test`'s user may
// write. Without its test log, `go test` caches no result, which is right: it doesn't
// know that the tests depend on the binaries.
func innerArguments(args []string) []string {
	var kept []string
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-test.testlogfile=") {
			kept = append(kept, arg)
		}
	}
	return kept
}

// innerEnvironment returns the tests' environment: the caller's, without what leads
// to the caller's own agent, keys, configuration or session.
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
	if RaceEnabled { // otherwise each binary sleeps for a second at its end
		env = append(env, "GORACE=atexit_sleep_ms=0")
	}
	return append(env,
		worldVariable+"="+world,
		"HOME="+filepath.Join(world, "home"),
		"TMPDIR="+filepath.Join(world, "tmp"),
		"USER="+a.name, "LOGNAME="+a.name)
}
