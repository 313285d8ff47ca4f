package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// MainAsObserver is Main for tests that inspect processes from outside, which takes
// root: the tests run as the user who started them, and what they start with
// Unprivileged runs as User.
func MainAsObserver(m *testing.M, binaries ...string) {
	status, err := observe(m, binaries)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sshtest:", err)
		status = 1
	}
	os.Exit(status)
}

func observe(m *testing.M, binaries []string) (status int, err error) {
	world, a, err := makeWorld(set{binaries: binaries})
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(world)
	env := innerEnvironment(world, a)
	os.Clearenv()
	for _, setting := range env {
		name, value, _ := strings.Cut(setting, "=")
		if err := os.Setenv(name, value); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

// Unprivileged makes cmd run as User if the tests run as root.
func Unprivileged(cmd *exec.Cmd) error {
	a, err := lookUpAccount()
	if err != nil || !a.change {
		return err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: []uint32{uint32(a.gid)}}
	return nil
}

// Give makes User the owner of a directory and its content if the tests run as root.
func Give(dir string) error {
	a, err := lookUpAccount()
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return a.own(path)
	})
}
