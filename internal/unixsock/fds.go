package unixsock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxFDs is the most descriptors that one message passes. Vigil's messages need only
// a few, and systems differ above 250 (SCM_MAX_FD).
const MaxFDs = 16

// ErrTooManyFDs reports a message that passes more descriptors than its reader
// accepts. All of them were closed.
var ErrTooManyFDs = errors.New("message passes too many descriptors")

// errNoData reports descriptors without data: a stream needs at least one byte.
var errNoData = errors.New("descriptors need at least one byte of data")

// sizeFDs returns the size of a control message with n descriptors. Alignment may
// leave room for one more, so their number is checked as well.
func sizeFDs(n int) int { return unix.CmsgSpace(4 * n) }

// RecvFDs reads at most len(buf) bytes from the blocking socket sock, and at most max
// descriptors that came with them. The descriptors are close-on-exec, and the caller
// owns them. With an error it returns none. It uses only recvmsg(2) and close(2); at
// the end of the stream it returns io.EOF. A read ends where the descriptors of
// another message begin.
func RecvFDs(sock int, buf []byte, max int) (int, []int, error) {
	oob := make([]byte, sizeFDs(min(max, MaxFDs)))
	for {
		n, oobn, flags, err := recvmsg(sock, buf, oob)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, nil, fmt.Errorf("receive message: %w", err)
		}
		fds, err := received(oob[:oobn], flags, max)
		if err != nil {
			return 0, nil, err
		}
		if n == 0 && len(buf) > 0 {
			closeAll(fds)
			return 0, nil, io.EOF
		}
		return n, fds, nil
	}
}

// SendFDsConn writes all of data to a connection, with the descriptors attached to
// its first byte, within the connection's deadline. It doesn't close the caller's
// descriptors.
func SendFDsConn(c *net.UnixConn, data []byte, fds ...int) error {
	if err := checkSend(data, fds); err != nil {
		return err
	}
	if len(fds) == 0 {
		_, err := c.Write(data)
		return err
	}
	n, _, err := c.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
	if err == nil && n < len(data) {
		_, err = c.Write(data[n:])
	}
	return err
}

// RecvFDsConn is RecvFDs on a connection, within its deadline.
func RecvFDsConn(c *net.UnixConn, buf []byte, max int) (int, []int, error) {
	oob := make([]byte, sizeFDs(min(max, MaxFDs)))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if errors.Is(err, io.EOF) {
		return 0, nil, io.EOF
	}
	if err != nil {
		return 0, nil, err
	}
	fds, err := received(oob[:oobn], flags, max)
	if err != nil {
		return 0, nil, err
	}
	if n == 0 && len(buf) > 0 {
		closeAll(fds)
		return 0, nil, io.EOF
	}
	return n, fds, nil
}

// Conn returns a connection for a socket, which it takes ownership of even if it
// fails.
func Conn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() // FileConn works on a duplicate
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use socket: %w", err)
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("use socket: not a unix socket")
	}
	return uc, nil
}

func checkSend(data []byte, fds []int) error {
	if len(fds) > MaxFDs {
		return ErrTooManyFDs
	}
	if len(fds) > 0 && len(data) == 0 {
		return errNoData
	}
	return nil
}

// received returns the descriptors in control messages. On an error it closes all of
// them.
func received(oob []byte, flags, max int) ([]int, error) {
	var fds []int
	msgs, err := unix.ParseSocketControlMessage(oob)
	for i := range msgs {
		some, rerr := unix.ParseUnixRights(&msgs[i])
		if rerr == nil {
			fds = append(fds, some...)
		} else if err == nil {
			err = errors.New("unexpected control message")
		}
	}
	if markCloseOnExec {
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
	}
	if err == nil && (flags&unix.MSG_CTRUNC != 0 || len(fds) > max || len(fds) > MaxFDs) {
		err = ErrTooManyFDs
	}
	if err != nil {
		closeAll(fds)
		return nil, fmt.Errorf("receive message: %w", err)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
