package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

// stopTimeout is how long the daemon may take to lock everything and end.
const stopTimeout = 15 * time.Second

func (a *app) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Aliases: []string{"stop"},
		Short:   "Lock everything and stop the daemon",
		Long: `Lock everything and stop the daemon. It has ended when the command returns. If no
daemon is running, the command does nothing and succeeds.`,
		Example: `  vigilctl down`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := a.stop(cmd.Context())
			var e *control.Error
			if errors.As(err, &e) && e.Code == control.CodeNoDaemon {
				return a.print(control.StopReply{}, func(w io.Writer) { printf(w, "vigild is not running\n") })
			}
			if err != nil {
				return err
			}
			return a.print(reply, func(w io.Writer) {
				printf(w, "vigild (pid %d) has stopped", reply.PID)
				if len(reply.Locked) > 0 {
					printf(w, "; locked %s", strings.Join(reply.Locked, ", "))
				}
				printf(w, "\n")
			})
		},
	}
}

// stop stops the daemon, whatever its build, and waits until it has ended.
func (a *app) stop(ctx context.Context) (*control.StopReply, error) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply, err := control.Do(ctx, c, &control.StopRequest{})
	if err == nil {
		err = c.WaitGone(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, control.Errorf(control.CodeFailed, "`vigilctl status` shows its pid; end it with kill.", "vigild has not ended within %s", stopTimeout)
	}
	return reply, err
}
