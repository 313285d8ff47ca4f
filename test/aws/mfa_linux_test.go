package aws

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/sshtest"
)

// mfaDevice is alice's.
const mfaDevice = "arn:aws:iam::" + awsfake.Account + ":mfa/alice"

// assumesRole makes the home's profile one of a role that wants an MFA code for
// sessions of the given length.
func (l *laptop) assumesRole(valid time.Duration) {
	role := l.w.sts.AddRole("member", mfaDevice, valid)
	l.Write("aws-config", "[default]\nregion = "+awsfake.Region+"\nrole_arn = "+role+"\nsource_profile = base\nmfa_serial = "+mfaDevice+
		"\n[profile base]\nregion = "+awsfake.Region+"\n")
	l.Write("aws-credentials", "[base]\naws_access_key_id = "+l.w.alice.AccessKeyID+"\naws_secret_access_key = "+l.w.alice.SecretAccessKey+"\n")
}

// atTerminal runs vigilctl at a terminal on which a person types a line to
// every question for a code.
func (l *laptop) atTerminal(answer string, args ...string) (r sshtest.Result, questions int) {
	l.Helper()
	master, slave := l.w.terminal()
	defer master.Close()
	cmd := exec.Command(sshtest.Binary(l.w, "vigilctl"), args...)
	cmd.Env = append(os.Environ(), l.Env...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, &out, &errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	slave.Close()
	read := make(chan int)
	go func() {
		asked := 0
		for b := make([]byte, 1024); ; {
			n, err := master.Read(b)
			if strings.Contains(string(b[:n]), "MFA code") {
				asked++
				_, _ = master.WriteString(answer + "\n") // if it is gone, the command says so
			}
			if err != nil { // the last one at the terminal has left
				read <- asked
				return
			}
		}
	}()
	_ = cmd.Wait() // its status says it
	questions = <-read
	return sshtest.Result{Out: out.String(), Err: errOut.String(), Status: cmd.ProcessState.ExitCode()}, questions
}

// terminal makes a pseudo-terminal.
func (w *world) terminal() (master, slave *os.File) {
	w.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		w.Fatal(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		w.Fatal(err)
	}
	var n int
	if e := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); e != nil || err != nil {
		w.Fatal(e, err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		w.Fatal(err)
	}
	return master, slave
}

// TestMFA: a code is asked for once, at the terminal of whoever waits; the
// session is kept, sealed, and serves background work, which never asks; when it
// has ended, status says so, and `vigilctl refresh` asks.
func TestMFA(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice, append(quick, `offline = "0"`)...)
	l.init()
	l.assumesRole(time.Hour)
	// Without a terminal nobody can be asked, and AWS isn't either.
	l.Fails(sshtest.StatusUnreachable, []string{"sign in needed"}, l.By("unlock")...)
	if n := w.cloud.Count("sts:AssumeRole"); n != 0 {
		t.Errorf("%d sessions were asked for without a code", n)
	}
	if r, asked := l.atTerminal("000000", l.By("unlock")...); r.Status != sshtest.StatusUnreachable || asked == 0 || !strings.Contains(r.Err, "MFA code") {
		t.Errorf("a wrong code, asked %d times: %s", asked, r)
	}
	if r, asked := l.atTerminal(awsfake.MFACode, l.By("unlock")...); r.Status != sshtest.StatusDone || asked != 1 {
		t.Fatalf("the right code, asked %d times: %s", asked, r)
	}
	sessions := w.cloud.Count("sts:AssumeRole")
	l.AddKey("work")
	l.Signs("work")
	l.OK("refresh") // without a terminal
	l.OK("lock")
	l.Unlock()
	l.Restart()
	l.Unlock()
	if n := w.cloud.Count("sts:AssumeRole"); n != sessions {
		t.Errorf("%d further sessions were asked for", n-sessions)
	}
	for _, e := range w.cloud.Exchanges() {
		if e.Action == "kms:Decrypt" && e.Status == 200 && !strings.Contains(e.Caller, "assumed-role/member/vigil") {
			t.Errorf("a Decrypt by %s", e.Caller)
		}
	}
	// The session ends.
	w.cloud.SetClock(func() time.Time { return time.Now().Add(2 * time.Hour) })
	sshtest.Eventually(w, "status says sign in needed", func() error {
		if v := l.Vault(); !strings.Contains(v.Problem, "sign in needed") || v.Next == "" {
			return fmt.Errorf("problem %q, next %q", v.Problem, v.Next)
		}
		return nil
	})
	if v := l.Vault(); v.State != control.VaultUnlocked {
		t.Errorf("vault is %s", v.State)
	}
	l.Signs("work")
	if r, asked := l.atTerminal(awsfake.MFACode, "refresh"); r.Status != sshtest.StatusDone || asked != 1 {
		t.Errorf("refresh at a terminal, asked %d times: %s", asked, r)
	}
	if v := l.Vault(); v.Problem != "" {
		t.Errorf("problem %q is left", v.Problem)
	}
}
