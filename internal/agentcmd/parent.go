package agentcmd

import (
	"context"
	"os"
	"time"
)

// parentInterval is how often an agent checks whether its parent is alive, if the
// system doesn't notify it. ssh-agent uses the same interval.
const parentInterval = 10 * time.Second

// pollParent returns a channel that is closed when pid is no longer this process's
// parent (an orphan gets another one), or when ctx ends.
func pollParent(ctx context.Context, pid int) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(parentInterval)
		defer ticker.Stop()
		for os.Getppid() == pid {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return gone
}
