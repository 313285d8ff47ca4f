// Package server is the process that holds keys, which package keeper talks to. It
// has a thread for each connection, guarded memory, and no access to files, other
// sockets or programs (package sandbox). It ends, with everything it holds, when the
// front closes a connection or ends, or when a deadline passes.
package server

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/sandbox"
)

const (
	// firstConn is the descriptor of the first connection, after the three standard ones.
	firstConn = ipc.FirstFile
	// maxWorkers bounds the number of workers, which the front chooses.
	maxWorkers = 1024
	// segment is the size of the first segment of guarded memory and of each
	// further one, in bytes. It fits the workers' buffers and several hundred keys.
	segment = 512 << 10
	// drainTimeout is how long the end waits for running signatures before it wipes
	// their keys; RSA-8192 takes 60 ms.
	drainTimeout = 300 * time.Millisecond
)

// Main runs a keeper on the inherited connections. It returns its exit status when
// the front has closed them or a deadline has passed. args are those after
// keeper.Role: the number of connections, and the best kind of guarded memory to use.
func Main(args []string) int {
	s, err := newServer(args)
	if s == nil {
		return 1 // the front reads EOF; there is nowhere to report an error
	}
	if s.greet(err) != nil {
		return 1
	}
	s.run()
	return 0
}

// greet sends the front a hello, and then the report of what protects this process,
// or why it can't serve.
func (s *server) greet(startErr error) error {
	w := s.workers[0]
	var err error
	if s.vaultID, err = ipc.Answer(fdConn(w.fd), ipc.Keeper, ipc.Front); err != nil {
		return err
	}
	return errors.Join(startErr, w.reply(s.report.Append(w.header()), startErr))
}

// newServer sets up everything that the sandbox forbids later, and then enters the
// sandbox. No secret has arrived yet. A server returned with an error can only report it.
func newServer(args []string) (*server, error) {
	if len(args) != 2 {
		return nil, errors.New("read keeper arguments: want 2")
	}
	workers, err := strconv.Atoi(args[0])
	if err != nil || workers < 1 || workers > maxWorkers {
		return nil, errors.New("read keeper arguments: number of connections")
	}
	memory := guard.Kind(args[1])
	if memory != guard.SecretMemory && memory != guard.LockedMemory {
		return nil, errors.New("read keeper arguments: guarded memory")
	}
	time.Sleep(time.Nanosecond) // the first timer creates an epoll instance, which the sandbox forbids
	s := &server{keys: newTable(), drafts: make(map[uint64]*guard.Buffer), quit: make(chan struct{}), deadlines: deadlines{changed: make(chan struct{}, 1)}}
	for i := range workers {
		unix.CloseOnExec(firstConn + i)
		s.workers = append(s.workers, &worker{fd: firstConn + i, server: s})
	}
	if err := guard.UntracedSelf(); err != nil {
		return s, err
	}
	hardening, err := guard.Harden()
	if err != nil {
		s.report.Missing = append(s.report.Missing, err.Error())
	}
	s.report.Undumpable, s.report.FromStart = hardening.Undumpable, hardening.FromStart
	if hardening.NoCore {
		s.report.Holds = append(s.report.Holds, "no_core")
	}
	s.slab, err = memory.NewSlab(segment)
	if err != nil {
		return s, fmt.Errorf("%w: %w", keeper.ErrFull, err)
	}
	return s, s.setUp()
}

func (s *server) setUp() error {
	for _, w := range s.workers {
		var err error
		if w.buf, err = s.slab.Alloc(keeper.SmallMessage); err != nil {
			return err
		}
	}
	s.sweeper = guard.NewSweeper()
	var err error
	if s.watch, err = guard.NewWatch(); err != nil {
		return err
	}
	report, err := sandbox.Apply()
	if err != nil {
		return fmt.Errorf("enter sandbox: %w", err)
	}
	if report.Seccomp {
		s.report.Holds = append(s.report.Holds, "seccomp")
	}
	if report.Landlock > 0 {
		s.report.Holds = append(s.report.Holds, "landlock")
	}
	s.report.Missing = append(s.report.Missing, report.Missing...)
	return nil
}

// run serves until the front closes a connection or a deadline passes, then wipes
// everything.
func (s *server) run() {
	var workers sync.WaitGroup
	for _, w := range s.workers {
		go func() {
			w.run()
			s.end()
		}()
	}
	workers.Go(s.watchDeadlines)
	<-s.quit
	s.drain()
	s.sweeper.Close()
	_ = s.slab.Close()
	workers.Wait()
}

// end makes the process end.
func (s *server) end() { s.endOnce.Do(func() { close(s.quit) }) }

// drain waits for running signatures, but not for workers blocked in a read: they end
// with the process.
func (s *server) drain() {
	done := make(chan struct{})
	go func() {
		s.busy.Lock() // every request holds it for reading
		close(done)
	}()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
