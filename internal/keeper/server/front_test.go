package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"vigil/internal/clock"
	"vigil/internal/keeper"
)

// frontRole makes the test binary a front: a process with a keeper that can be killed
// or stopped.
const frontRole = "front-of-a-keeper"

// after returns the moment in d; 0: none.
func after(d time.Duration) (i clock.Instant) {
	if d != 0 {
		i = clock.Now().After(d)
	}
	return i
}

// beFront starts a keeper with the deadlines in its arguments, prints its process id,
// and waits.
func beFront(args []string) int {
	idle, err1 := time.ParseDuration(args[0])
	lease, err2 := time.ParseDuration(args[1])
	me, err3 := os.Executable()
	c, err4 := keeper.Start(context.Background(), keeper.Options{Exe: me})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(c.PID())
	_, _ = io.ReadFull(os.Stdin, make([]byte, 1)) // until the test has a pidfd of the keeper
	if err := c.SetDeadlines(context.Background(), idle, after(lease)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("set")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}
