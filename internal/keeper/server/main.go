// Package server is the process that holds keys: the other end of package keeper's
// protocol. It has a thread for each connection, guarded memory, and no way to
// files, other sockets or programs (package sandbox). What it holds ends with it:
// when the front closes a connection or ends, and at its deadlines.
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
	// firstConn is the descriptor of the first connection: they follow the three standard ones.
	firstConn = ipc.FirstFile
	// maxWorkers bounds what the front may ask for.
	maxWorkers = 1024
	// defaultMemory is the size of a first segment of guarded memory: it holds
	// the workers' buffers and several hundred keys, and grows by as much.
	defaultMemory = 512 << 10
	// drainTimeout is how long the end waits for signatures under way before
	// their keys are wiped under them; RSA-8192 takes 60 ms.
	drainTimeout = 300 * time.Millisecond
)

// Main runs a keeper on the connections it inherited and returns its exit
// status when the front has closed them or a deadline has passed. args are
// those after keeper.Role: how many connections, and the bytes of guarded memory.
func Main(args []string) int {
	s, err := newServer(args)
	if s == nil {
		return 1 // the front reads EOF; there is nowhere to write to
	}
	if s.greet(err) != nil {
		return 1
	}
	s.run()
	return 0
}

// greet says hello to the front, and then what protects this process, or why it
// can't serve.
func (s *server) greet(startErr error) error {
	w := s.workers[0]
	var err error
	if s.vaultID, err = ipc.Answer(fdConn(w.fd), ipc.Keeper, ipc.Front); err != nil {
		return err
	}
	return errors.Join(startErr, w.reply(s.report.Append(w.header()), startErr))
}

// newServer sets everything up that the sandbox forbids afterwards, and then
// sandboxes itself. No secret has arrived yet. A server that it returns with an
// error can tell the front, and do nothing else.
func newServer(args []string) (*server, error) {
	if len(args) != 2 {
		return nil, errors.New("read keeper arguments: want 2")
	}
	workers, err := strconv.Atoi(args[0])
	if err != nil || workers < 1 || workers > maxWorkers {
		return nil, errors.New("read keeper arguments: number of connections")
	}
	memory, err := strconv.Atoi(args[1])
	if err != nil || memory < 0 {
		return nil, errors.New("read keeper arguments: guarded memory")
	}
	if memory == 0 {
		memory = defaultMemory
	}
	time.Sleep(time.Nanosecond) // the first timer makes an epoll instance, which the sandbox forbids
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
	s.slab, err = guard.NewSlab(memory)
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

// run serves until the front closes a connection or a deadline passes, then
// forgets everything.
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

// end begins the end of the process.
func (s *server) end() { s.endOnce.Do(func() { close(s.quit) }) }

// drain waits for the signatures under way. Workers blocked in a read are left
// where they are: the process ends with them.
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
