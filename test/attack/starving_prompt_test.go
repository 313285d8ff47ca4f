package attack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/testing/sshtest"
)

// asking is a home whose questions nobody answers, and whose vault key "mine"
// asks at each use.
type asking struct {
	*sshtest.Home
	sign []byte // a request to sign with it
}

func newAsking(t *testing.T) *asking {
	t.Helper()
	a := &asking{Home: sshtest.NewHome(t, ownerPassphrase)}
	// It notes who asks, then stands: for a person who isn't there.
	script := a.Write("askpass", fmt.Sprintf("#!/bin/sh\necho \"$$ $(echo \"$1\" | tr '\\n' ' ')\" >>%s\nexec sleep 600\n", a.Path("asked")))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	a.Env = append(a.Env, "SSH_ASKPASS="+script, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none")
	a.Start()
	a.Found("", "")
	a.AddKey("mine")
	a.OK("edit", "mine", "--confirm")
	a.sign = signRequest(t, a.Home, "mine")
	return a
}

// signRequest is a request to sign with the key of a comment.
func signRequest(t testing.TB, h *sshtest.Home, comment string) []byte {
	t.Helper()
	keys, err := h.Client().List()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Comment == comment {
			body := ssh.Marshal(struct {
				Key, Data []byte
				Flags     uint32
			}{k.Blob, []byte("data"), 0})
			return begin(agentproto.MsgSignRequest, 1+len(body), body)
		}
	}
	t.Fatalf("no key %q", comment)
	return nil
}

// question is one that was shown.
type question struct {
	pid  int
	text string
}

// asked are the questions that were shown, and those that stand.
func (a *asking) asked() (all, standing []question) {
	a.Helper()
	text, _ := os.ReadFile(a.Path("asked"))
	for line := range strings.Lines(string(text)) {
		number, rest, _ := strings.Cut(line, " ")
		pid, err := strconv.Atoi(number)
		if err != nil {
			continue // half a line
		}
		q := question{pid, rest}
		if all = append(all, q); sshtest.Alive(pid) {
			standing = append(standing, q)
		}
	}
	return all, standing
}

// stand waits until so many questions stand.
func (a *asking) stand(n int, why string) (standing []question) {
	a.Helper()
	sshtest.Eventually(a, why, func() error {
		if _, standing = a.asked(); len(standing) != n {
			return fmt.Errorf("%d questions stand, want %d", len(standing), n)
		}
		return nil
	})
	return standing
}

// ask sends a request, and what comes behind it.
func (a *asking) ask(behind ...byte) net.Conn {
	a.Helper()
	conn := dial(a.Home)
	if _, err := conn.Write(append(append([]byte(nil), a.sign...), behind...)); err != nil {
		a.Fatal(err)
	}
	return conn
}

// TestOneQuestionStandsAtATime: the attacker has the agent socket, and asks on
// many connections at once for a key that asks the owner. One question stands at
// a time, a program of the owner's comes next, whoever waits beside it, and what
// has gone asks no more.
func TestOneQuestionStandsAtATime(t *testing.T) {
	t.Parallel()
	a := newAsking(t)
	end := flood(a.Home, 100, a.sign)
	first := a.stand(1, "a first question")
	owner := signing(a.Home, "mine")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = owner.Process.Kill()
		_ = owner.Wait()
	})
	waiting := func() error { // it has connected and waits: nothing is to be seen of it but that
		wchan, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", owner.Process.Pid))
		if err == nil && len(wchan) > 0 && string(wchan) == "running\n" {
			return errors.New("it computes")
		}
		return nil
	}
	sshtest.Eventually(t, "the owner's program waits", waiting)
	// The attacker's are answered "no" until the owner's is shown.
	const most = 4
	for n := 0; ; n++ {
		_, standing := a.asked()
		if len(standing) > 1 {
			t.Fatalf("%d questions stand at once", len(standing))
		}
		if len(standing) == 1 && strings.Contains(standing[0].text, "ssh-keygen") {
			break
		}
		if n > most {
			t.Fatalf("the owner's program isn't asked for after %d of the attacker's questions", n)
		}
		_ = syscall.Kill(first[0].pid, syscall.SIGKILL)
		sshtest.Eventually(t, "the next question", func() error {
			if _, first = a.asked(); len(first) == 0 || first[0] == standing[0] {
				return errors.New("none")
			}
			return nil
		})
	}
	end()
	_ = owner.Process.Kill()
	a.stand(0, "questions end with who asked")
	all, _ := a.asked()
	if len(all) > 10 {
		t.Errorf("%d questions were shown", len(all))
	}
	locks(a.Home)
}

// TestQuestionEndsWithItsClient: the attacker asks, sends more behind its request,
// and goes away. The question must not stand for nobody.
func TestQuestionEndsWithItsClient(t *testing.T) {
	t.Parallel()
	a := newAsking(t)
	for _, behind := range []string{"", "\x00", "\x00\x00\x00\x01\x0b", strings.Repeat("\x00\x00\x00\x01\x0b", 1000)} {
		conn := a.ask([]byte(behind)...)
		a.stand(1, "the question stands")
		_ = conn.Close()
		a.stand(0, fmt.Sprintf("it ends with a client that sent %d bytes more", len(behind)))
	}
}

// TestQuestionEndsWithWhatItIsAbout: a question must not stand, to be answered by
// mistake, when its key can't be used any more: the vault is locked, the key
// removed, or the agent locked by ssh-add -x.
func TestQuestionEndsWithWhatItIsAbout(t *testing.T) {
	t.Parallel()
	a := newAsking(t)
	c := agent.NewClient(dial(a.Home))
	add := func() {
		err := c.Add(agent.AddedKey{PrivateKey: newKey(t), Comment: "added", ConfirmBeforeUse: true})
		if err != nil {
			t.Fatal(err)
		}
		a.sign = signRequest(t, a.Home, "added")
	}
	mine := a.sign
	for _, end := range []struct {
		name string
		does func() error
	}{
		{"vigilctl edit", func() error { a.OK(a.By("edit", "mine", "--confirm=false")...); return nil }},
		{"vigilctl lock", func() error { locks(a.Home); return nil }},
		{"ssh-add -D", func() error { add(); return nil }},
		{"ssh-add -x", func() error { return nil }},
	} {
		switch end.name {
		case "ssh-add -D":
			add()
			end.does = c.RemoveAll
		case "ssh-add -x":
			add()
			end.does = func() error { return c.Lock([]byte("secret")) }
		default:
			a.Unlock()
			a.OK("edit", "mine", "--confirm")
			a.sign = mine
		}
		conn := a.ask()
		a.stand(1, "the question stands")
		if err := end.does(); err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		a.stand(0, "it ends with "+end.name)
		if err := conn.SetReadDeadline(time.Now().Add(soon)); err != nil {
			t.Fatal(err)
		}
		if reply := make([]byte, 5); !refused(conn, reply) {
			t.Errorf("%s: the client was answered %x", end.name, reply)
		}
	}
}

func refused(conn net.Conn, reply []byte) bool {
	n, err := conn.Read(reply)
	return err == nil && n == 5 && reply[4] == agentproto.MsgFailure
}
