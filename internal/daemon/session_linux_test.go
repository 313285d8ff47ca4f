package daemon

import (
	"os"
	"testing"

	"vigil/internal/ask"
	"vigil/internal/control"
	"vigil/internal/ipc"
)

// What can't ask a person is refused with what to do about it.
func TestWhoCantAsk(t *testing.T) {
	h := &handler{&Daemon{o: Options{Places: &ask.Places{}}}}
	_, err := h.RegisterSession(t.Context(), &control.Call{}, &control.SessionRegisterRequest{Term: "xterm"})
	e := control.AsError(err)
	if e.Message != "this session can't be registered: the process has no controlling terminal" || e.Next != "Run it in the shell of a terminal of your own." {
		t.Errorf("without a terminal: %+v", e)
	}

	call := &control.Call{}
	call.Peer.PID = os.Getpid()
	for n := 0; ; n++ {
		ours, theirs, err := ipc.Pair()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ours.Close() })
		_, err = h.Ask(t.Context(), call, &control.AskRequest{Channel: theirs})
		theirs.Close()
		if err == nil && n < 16 {
			continue
		}
		if e := control.AsError(err); n != 16 || e.Message != "no request can come here: 16 wait already, the most that may" || e.Next != "End another `vigilctl ask`." {
			t.Errorf("after %d: %+v", n, e)
		}
		return
	}
}
