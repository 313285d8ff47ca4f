package prompt

import "golang.org/x/sys/unix"

// endOfScreen leaves the second screen, and shows the cursor: what terminals that have
// neither ignore (xterm's control sequences).
const endOfScreen = "\x1b[?1049l\x1b[?25h\x1b[0m\r\n"

// keepTerminal returns a function that puts a terminal back into its present mode, for the
// time after a pinentry was killed that had drawn on it. It does nothing if tty is "".
func keepTerminal(tty string) (restore func()) {
	nothing := func() {}
	if tty == "" {
		return nothing
	}
	var mode *unix.Termios
	if onTerminal(tty, func(fd int) (err error) {
		mode, err = unix.IoctlGetTermios(fd, getTermios)
		return err
	}) != nil {
		return nothing
	}
	return func() {
		_ = onTerminal(tty, func(fd int) error {
			_, _ = unix.Write(fd, []byte(endOfScreen))
			return unix.IoctlSetTermios(fd, setTermios, mode)
		})
	}
}

// onTerminal opens a terminal for f, waiting for nobody.
func onTerminal(tty string, f func(fd int) error) error {
	fd, err := unix.Open(tty, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return f(fd)
}
