package agentcmd

import (
	"context"
	"os"
	"time"
)

// parentInterval is how often an agent looks whether its parent is still there,
// where the system doesn't tell; ssh-agent looks as often.
const parentInterval = 10 * time.Second

// pollParent returns a channel that is closed when pid isn't this process's
// parent any more (an orphan gets another one), or when ctx ends.
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
