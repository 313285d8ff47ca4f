// Package securitykey starts OpenSSH's ssh-sk-helper, which has a security key sign. The
// process that starts it holds no key: it passes the other end of the helper's
// conversation on, to the keeper that has the key's handle (package skhelper).
//
//	securitykey.go   the helper's process
//	find.go          which program it is, and which providers it may load
package securitykey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"vigil/internal/ipc"
)

// patience is how long a touch is waited for. Tokens give up sooner.
const patience = 2 * time.Minute

// ErrTimeout reports that nobody touched the security key in time.
var ErrTimeout = fmt.Errorf("nobody touched the security key within %v", patience)

// Helper starts ssh-sk-helper. Of two that wait for a touch at once nobody could tell which
// one it answers: the caller has one run at a time.
type Helper struct {
	places     []string // the first one that is there is started
	configured bool     // whether the configuration names it
}

// New returns a Helper that starts the program at an absolute path; "": where OpenSSH's
// packages put it.
func New(path string) *Helper {
	if path == "" {
		return &Helper{places: packaged}
	}
	return &Helper{[]string{path}, true}
}

// Run starts ssh-sk-helper and calls use with the other end of its conversation, which use
// must not close. When use returns, or ctx ends, the helper is killed and the conversation
// ends, also for those to whom either end was passed on: no wait outlasts ctx. The error is
// an *Error if the helper can't be started, ErrTimeout, ctx's, or use's.
func (h *Helper) Run(ctx context.Context, use func(conversation *os.File) error) error {
	path, err := h.find()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, ErrTimeout)
	defer cancel()
	ours, theirs, err := ipc.ChildPair()
	if err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	defer ours.Close()
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdin, cmd.Stdout, cmd.Dir, cmd.Env = theirs, theirs, "/", []string{}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return &Error{fmt.Sprintf("start %s: %v", path, err), install}
	}
	stop := context.AfterFunc(ctx, func() { End(ours) })
	defer stop()
	used := use(ours)
	cancelled := context.Cause(ctx) // before cancel makes it one
	cancel()
	_ = cmd.Wait() // its answer says how it went
	if used != nil && cancelled != nil && !errors.Is(cancelled, context.Canceled) {
		return cancelled
	}
	return used
}

// End ends a conversation for every process that has either end.
func End(conversation *os.File) {
	if raw, err := conversation.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	}
}
