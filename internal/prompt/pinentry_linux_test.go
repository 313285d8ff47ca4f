package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal makes a pseudo-terminal and returns its master and the path of the
// side a program uses.
func terminal(t *testing.T) (*os.File, string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	_ = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100})
	name := fmt.Sprintf("/dev/pts/%d", n)
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0) // a master without one reads EIO
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, name
}

// A real pinentry, answered on its terminal.
func TestRealPinentry(t *testing.T) {
	path, err := exec.LookPath("pinentry-curses")
	if err != nil {
		t.Skip("pinentry-curses isn't installed")
	}
	for _, tc := range []struct {
		name, waitFor, keys string
		confirm             bool
		longer              time.Duration
		want                string
		err                 error
	}{
		{"allow", "Deny", "\r", true, 0, "", nil},
		{"deny", "Deny", "\t\r", true, 0, "", ErrDeclined},
		{"allow once", "Deny", "\r", true, 10 * time.Minute, "", nil},
		{"allow for longer", "Deny", "\t\r", true, 10 * time.Minute, "longer", nil},
		{"deny, of three", "Deny", "\t\t\r", true, 10 * time.Minute, "", ErrDeclined},
		{"passphrase", "Cancel", "corr%ct horse\r", false, 0, "corr%ct horse", nil},
		{"no passphrase", "Cancel", "\t\t\r", false, 0, "", ErrDeclined},
	} {
		t.Run(tc.name, func(t *testing.T) {
			master, tty := terminal(t)
			p := &Prompter{env: []string{"GPG_TTY=" + tty, "TERM=xterm", "LANG=C.UTF-8", "PATH=/usr/bin:/bin"}, pinentry: path}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			typed := make(chan error, 1)
			go func() {
				var screen []byte
				buf := make([]byte, 4096)
				for !bytes.Contains(screen, []byte(tc.waitFor)) {
					n, err := master.Read(buf)
					if err != nil {
						typed <- fmt.Errorf("%w after %q", err, screen)
						return
					}
					screen = append(screen, buf[:n]...)
				}
				_, err := master.WriteString(tc.keys)
				typed <- err
			}()
			var got error
			if tc.confirm {
				var longer bool
				longer, got = p.Confirm(ctx, "Vigil", "Use the key?", tc.longer)
				if longer != (tc.want == "longer") {
					t.Errorf("for longer: %v", longer)
				}
			} else {
				buf := make([]byte, MaxPassphrase)
				var typed string
				typed, got = Once(ctx, p, buf)
				if typed != tc.want {
					t.Errorf("got %q, want %q", typed, tc.want)
				}
			}
			if !errors.Is(got, tc.err) || tc.err == nil && got != nil {
				t.Errorf("got %v, want %v", got, tc.err)
			}
			if err := <-typed; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("no terminal", func(t *testing.T) {
		p := &Prompter{env: []string{"GPG_TTY=/nowhere/tty", "TERM=xterm", "PATH=/usr/bin:/bin"}, pinentry: path}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := p.Confirm(ctx, "Vigil", "Use the key?", 0); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
