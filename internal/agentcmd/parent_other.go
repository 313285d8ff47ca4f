//go:build !linux

package agentcmd

import "context"

// parentGone returns a channel that is closed when the process pid, this one's
// parent, has ended, or ctx has; nil for pid 0.
func parentGone(ctx context.Context, pid int) <-chan struct{} {
	if pid == 0 {
		return nil
	}
	return pollParent(ctx, pid)
}
