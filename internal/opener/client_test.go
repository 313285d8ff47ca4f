package opener

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"vigil/internal/id"
	"vigil/internal/ipc"
)

// An opener that ends before its hello causes an error, not an endless wait.
func TestStartOfOneThatEnds(t *testing.T) {
	exe, err := exec.LookPath("true")
	if err != nil {
		t.Skip(err)
	}
	if c, err := Start(t.Context(), exe, id.Vault{}); err == nil {
		c.Close()
		t.Error("a program that says nothing was taken for an opener")
	}
}

// An opener that hangs in an unattended job doesn't block its vault.
func TestOneThatHangsIsKilled(t *testing.T) {
	conn, theirs, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	child, err := ipc.Start(path, []string{"sleep", "600"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{patience: time.Millisecond, child: child, conn: conn, stop: func() bool { return true }}
	defer c.Close()
	_, err = Do(t.Context(), c, &Fetch{}, Seen{}, nil)
	if !errors.Is(err, &Error{Kind: Unreachable}) {
		t.Errorf("got %v", err)
	}
	<-c.child.Done()
}
