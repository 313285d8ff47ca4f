package unixsock

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// SendFDs writes all of data to the blocking socket sock, with the descriptors
// attached to its first byte. The caller keeps them open, and closes its own
// copies when it likes. It needs sendmsg(2) and write(2) only.
func SendFDs(sock int, data []byte, fds ...int) error {
	if err := checkSend(data, fds); err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for len(data) > 0 {
		n, err := unix.SendmsgN(sock, data, oob, nil, sendFlags)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send message: %w", err)
		}
		data, oob = data[n:], nil
	}
	return nil
}
