package residue

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/testing/sshtest"
)

// TestNothingIsLeftOfWhatIsTyped: a passphrase that was typed, measured and given up, and
// one that was suggested, are in no process while vigilctl asks for another.
func TestNothingIsLeftOfWhatIsTyped(t *testing.T) {
	w := newWorld(t, "")
	typed := random(t)
	master, slave := newPTY(t)
	cmd := w.command(filepath.Join(sshtest.BinaryDir(), "vigilctl"), "init", "--suggest")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	check(t, cmd.Start())
	slave.Close()
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	shown := expect(t, master, "New passphrase for vault default: ")
	suggested := regexp.MustCompile(`\n([a-z]+(?: [a-z]+){7})\r`).FindSubmatch(shown)
	if suggested == nil {
		t.Fatalf("no suggestion in %q", shown)
	}
	_, err := master.WriteString(typed + "\n")
	check(t, err)
	shown = expect(t, master, "empty: choose another): ")
	if !bytes.Contains(shown, []byte("one graphics card")) {
		t.Errorf("it isn't measured: %q", shown)
	}
	s := newSearch()
	check(t, s.add(form{name: "typed", bytes: []byte(typed)}, form{name: "suggested", bytes: suggested[1]}))
	if found := searchAll(t, w, s); found["vigilctl"]["typed"] == "" {
		t.Error("the search doesn't find what vigilctl must have, to compare")
	}
	_, err = master.WriteString("\n")
	check(t, err)
	expect(t, master, "New passphrase for vault default: ")
	<-time.After(settle)
	for role, found := range searchAll(t, w, s) {
		if len(found) > 0 {
			t.Errorf("%s has:\n%s", role, some(found))
		}
	}
}

// searchAll looks into every process, of which vigilctl must be one and vigil-meter none.
func searchAll(t *testing.T, w *world, s *search) map[string]map[string]string {
	t.Helper()
	found := map[string]map[string]string{}
	for _, p := range w.processes() {
		im, err := capture(p.pid, guard.SecretMemory)
		check(t, err)
		found[p.role] = im.find(s)
	}
	if found["vigilctl"] == nil || found["vigil-meter"] != nil {
		t.Errorf("running: %v", found)
	}
	return found
}

// newPTY returns a terminal's two ends.
func newPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	check(t, err)
	check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(t, err)
	check(t, unix.SetNonblock(fd, true)) // so that a read can end
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	return master, slave
}

// expect returns what a terminal shows up to a prompt.
func expect(t *testing.T, master *os.File, prompt string) (shown []byte) {
	t.Helper()
	check(t, master.SetReadDeadline(time.Now().Add(startDeadline)))
	buf := make([]byte, 256)
	for !bytes.HasSuffix(shown, []byte(prompt)) {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("it never asked for %q: %q, %v", prompt, shown, err)
		}
		shown = append(shown, buf[:n]...)
	}
	return shown
}
