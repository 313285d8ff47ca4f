package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/spf13/cobra"

	"vigil/internal/ask"
	"vigil/internal/ask/asker"
	"vigil/internal/control"
	"vigil/internal/ipc"
	"vigil/internal/prompt"
	"vigil/internal/unixsock"
)

func (a *app) askCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ask",
		Short: "Wait in this terminal to be asked",
		Long: `Wait in this terminal, such as a pane of tmux, until a signature needs a locked vault,
show what it is for, and ask for the passphrase here: also for what runs in other
terminals, or in none. What runs in the foreground of a registered session is asked for
there ("vigilctl session"). Of several that wait, the newest is asked. Once the passphrase
that unlocked a vault was typed here, it also asks what its keys may be used for
("approve" in the configuration), until the vault is locked.

An empty passphrase, or Ctrl-C at the prompt, declines. Ctrl-C between prompts ends it.`,
		Example: `  tmux new-window vigilctl ask`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.standBy(cmd.Context()) },
	}
}

// standBy answers the daemon's questions at this terminal until ctx ends.
func (a *app) standBy(ctx context.Context) error {
	t, err := prompt.ControllingTerminal()
	if err != nil || !t.Foreground() {
		return control.Errorf(control.CodeUsage, "Run it in the foreground of a terminal.", "there is no terminal to ask on")
	}
	defer t.Close()
	requests, front, err := a.awaitRequests(ctx)
	if err != nil {
		return err
	}
	defer requests.Close()
	defer context.AfterFunc(ctx, func() { _ = requests.Close() })()
	t.Say(ctx, "Waiting to be asked. Ctrl-C ends it.")
	for {
		conn, err := nextRequest(requests)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return control.Errorf(control.CodeNoDaemon, "Start it with `vigilctl up`, and ask again.", "vigild has ended")
		}
		err = asker.Serve(ctx, conn, front, nil, showHere)
		var over asker.Over
		if errors.As(err, &over) {
			t.Say(ctx, string(over))
		}
	}
}

// awaitRequests tells the daemon that a person waits here, and returns the connection by
// which its requests come.
func (a *app) awaitRequests(ctx context.Context) (requests *net.UnixConn, front int, err error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	ours, theirs, err := ipc.Pair()
	if err != nil {
		return nil, 0, err
	}
	defer theirs.Close()
	reply, err := control.Do(ctx, c, &control.AskRequest{Channel: theirs})
	if err != nil {
		_ = ours.Close()
		return nil, 0, err
	}
	return ours, reply.PID, nil
}

// nextRequest waits for a prompt to show, and returns its conversation.
func nextRequest(requests *net.UnixConn) (*net.UnixConn, error) {
	var one [1]byte
	_, fds, err := unixsock.RecvFDsConn(requests, one[:], 1)
	switch {
	case err != nil:
		return nil, err
	case len(fds) == 0:
		return nil, errors.New("a request came without its conversation")
	}
	return unixsock.Conn(fds[0])
}

// showHere asks on this process's terminal, below the time.
func showHere(ctx context.Context, _ ask.Question) (asker.Prompter, context.Context, func(), error) {
	t, err := prompt.ControllingTerminal()
	if err != nil {
		return nil, nil, nil, err
	}
	t.Say(ctx, "\n"+time.Now().Format(time.TimeOnly))
	return t, ctx, t.Close, nil
}
