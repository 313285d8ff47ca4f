package control

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// inputPoll is how often pipes are checked for a request's input.
const inputPoll = 50 * time.Millisecond

// do answers a request within the server's budget. A request that locks isn't
// counted, goes first, and ends the requests that wait for their clients' input.
func (s *session) do(ctx context.Context, op Op, o *operation) (any, error) {
	switch op {
	case OpStop, OpLock:
		s.server.endWaiting()
		return s.call(context.WithoutCancel(ctx), op, o) // it runs to its end, even if the client goes away
	case OpVersion:
		return s.call(ctx, op, o)
	}
	if !s.server.begin(s.peer.PID) {
		return nil, Errorf(CodeFailed, "Try again; `vigilctl lock` and `down` always get through.",
			"vigild is answering as many requests as it does at once, in all or of one program")
	}
	defer s.server.end(s.peer.PID)
	if err := s.awaitInput(ctx, op, o); err != nil {
		return nil, err
	}
	return s.call(ctx, op, o)
}

// begin counts a process's request, and reports whether it may be answered now.
func (s *Server) begin(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxRequests || s.doing[pid] >= maxOfProcess {
		return false
	}
	s.all++
	s.doing[pid]++
	return true
}

func (s *Server) end(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.doing[pid]--; s.doing[pid] == 0 {
		delete(s.doing, pid)
	}
}

// endWaiting ends every request that waits for its input: a request from before a
// lock must not undo it.
func (s *Server) endWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.waiting {
		cancel()
	}
}

// awaitInput waits until each pipe that the request reads has input, without reading
// it. A person may be typing it into another program; until then the request must not
// block others.
func (s *session) awaitInput(ctx context.Context, op Op, o *operation) error {
	var pipes []*os.File
	for _, slot := range o.req.files() {
		if f := *slot.file; f != nil && readable(f) && isPipe(f) {
			pipes = append(pipes, f)
		}
	}
	if len(pipes) == 0 {
		return nil
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	s.server.mu.Lock()
	s.server.waiting[s] = cancel
	s.server.mu.Unlock()
	defer func() {
		s.server.mu.Lock()
		delete(s.server.waiting, s)
		s.server.mu.Unlock()
	}()
	tick := time.NewTicker(inputPoll)
	defer tick.Stop()
	for _, f := range pipes {
		for !ready(f) {
			select {
			case <-tick.C:
			case <-waiting.Done():
			}
			if ctx.Err() == nil && waiting.Err() != nil {
				return Errorf(CodeInterrupted, "Run it again.", "%s: locked before its input had come", op)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// readable reports whether a file was opened for reading.
func readable(f *os.File) bool {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE != unix.O_WRONLY
}

// ready reports whether a read of f wouldn't block.
func ready(f *os.File) bool {
	p := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}
