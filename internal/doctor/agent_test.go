package doctor

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/checkup"
	"vigil/internal/launchd"
	"vigil/internal/systemd"
)

// unwilling is an agent that lists keys and doesn't sign, or signs other data.
type unwilling struct {
	agent.ExtendedAgent
	forges bool
}

func (u unwilling) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	if u.forges {
		return u.ExtendedAgent.SignWithFlags(key, []byte("other data"), flags)
	}
	return nil, errors.New("no")
}

// TestAgentAsAClient: what an agent's answers mean.
func TestAgentAsAClient(t *testing.T) {
	ring := agent.NewKeyring().(agent.ExtendedAgent)
	var freely []string
	_, ed, err := ed25519.GenerateKey(nil)
	weak, err2 := rsa.GenerateKey(nil, 2048)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, private := range []any{ed, weak} {
		if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := ring.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		freely = append(freely, ssh.FingerprintSHA256(k))
	}
	for name, tt := range map[string]struct {
		agent   agent.Agent // nil: nobody
		freely  []string
		want    checkup.Result
		details string
		next    string
	}{
		"nobody":                        {nil, nil, checkup.Fail, "no such file", "Start the daemon: vigilctl up."},
		"an empty list":                 {agent.NewKeyring(), freely, checkup.OK, "lists 0 keys; none of them signs now without a question", ""},
		"locked, as vaults are":         {ring, nil, checkup.OK, "lists 2 keys; none of them signs now without a question", ""},
		"Ed25519":                       {ring, freely[:1], checkup.OK, "lists 2 keys, and " + ssh.FingerprintSHA256(keys[0]) + " signs", ""},
		"RSA":                           {ring, freely[1:], checkup.OK, "lists 2 keys, and " + ssh.FingerprintSHA256(keys[1]) + " signs", ""},
		"a key that doesn't sign":       {unwilling{ring, false}, freely, checkup.Fail, "lists 2 keys, but " + ssh.FingerprintSHA256(keys[0]) + " doesn't sign: ", "`vigilctl why` says why."},
		"a signature of something else": {unwilling{ring, true}, freely, checkup.Fail, "doesn't sign: ssh: signature did not verify", "`vigilctl why` says why."},
		"no list":                       {hangsUp{}, nil, checkup.Fail, "doesn't list its keys: ", "`vigilctl why` says why."},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			if tt.agent != nil {
				serve(t, socket, tt.agent)
			}
			got := Agent(t.Context(), socket, tt.freely)
			if got.Result != tt.want || !strings.Contains(got.Detail, tt.details) || got.Next != tt.next {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// hangsUp is an agent that ends each connection at once.
type hangsUp struct{ agent.Agent }

func serve(t *testing.T, socket string, a agent.Agent) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	context.AfterFunc(t.Context(), func() { _ = l.Close() })
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, hangs := a.(hangsUp); !hangs {
			_ = agent.ServeAgent(a, conn) // it ends with the connection
		}
	}()
}

// TestService: what the states of a service mean.
func TestService(t *testing.T) {
	const ours = "/run/user/1000/vigil/agent.sock"
	unit := func(file string, active bool) systemd.Unit {
		return systemd.Unit{There: true, File: file, Active: active}
	}
	on := []systemd.Unit{unit("enabled", true), unit("enabled", true), unit("static", false)}
	other := systemd.Unit{Name: "gcr-ssh-agent.socket"}
	for name, tt := range map[string]struct {
		state        systemd.State
		want         checkup.Result // "": no check
		detail, next string
	}{
		"off":          {systemd.State{Ours: []systemd.Unit{unit("disabled", false), unit("disabled", false), unit("static", false)}}, "", "", ""},
		"on":           {systemd.State{Ours: on, Environment: ours, NewLogin: ours}, checkup.OK, "on; SSH_AUTH_SOCK of services and graphical sessions leads to Vigil", ""},
		"no sockets":   {systemd.State{Ours: []systemd.Unit{unit("enabled", false), unit("enabled", true), unit("static", false)}, NewLogin: ours}, checkup.Fail, "it is on, but its sockets aren't there", "systemctl --user restart vigild.socket vigild-control.socket"},
		"elsewhere":    {systemd.State{Ours: on, Environment: "/run/other", NewLogin: ours}, checkup.Warn, `doesn't lead to Vigil: "/run/other"`, "`vigilctl service enable` sets it again."},
		"forwarded":    {systemd.State{Ours: on, Environment: "/run/other", Forwarded: true, NewLogin: ours}, checkup.OK, "of services is a forwarded agent", ""},
		"new login":    {systemd.State{Ours: on, Environment: ours, NewLogin: "/run/other", NextLogin: "do this"}, checkup.Warn, `of new logins doesn't lead to Vigil: "/run/other"`, "do this."},
		"beside GCR's": {systemd.State{Ours: on, Environment: ours, NewLogin: ours, Others: []systemd.Unit{other}, Keyring: true}, checkup.Warn, "logins also start other agents: gcr-ssh-agent.socket, GNOME Keyring's SSH agent", "`vigilctl service enable` turns them off."},
	} {
		t.Run(name, func(t *testing.T) {
			list := Service(&tt.state, ours)
			if len(list) == 0 {
				if tt.want != "" {
					t.Fatal("no check")
				}
				return
			}
			if got := list[len(list)-1]; got.Result != tt.want || !strings.Contains(got.Detail, tt.detail) || got.Next != tt.next {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestLaunchAgent: what the states of a LaunchAgent mean.
func TestLaunchAgent(t *testing.T) {
	const ours = "/Users/ada/.local/state/vigil/run/agent.sock"
	for name, tt := range map[string]struct {
		state        launchd.State
		want         checkup.Result // "": no check
		detail, next string
	}{
		"off":       {launchd.State{}, "", "", ""},
		"on":        {launchd.State{Loaded: true, Current: true, Environment: ours}, checkup.OK, "on; SSH_AUTH_SOCK of programs that launchd starts leads to Vigil", ""},
		"upgraded":  {launchd.State{Loaded: true, Environment: ours}, checkup.Warn, "its file isn't this build's", "`vigilctl service enable` writes it anew."},
		"elsewhere": {launchd.State{Loaded: true, Current: true, Environment: "/apple"}, checkup.Warn, `doesn't lead to Vigil: "/apple"`, "`vigilctl service restart` sets it again."},
	} {
		t.Run(name, func(t *testing.T) {
			list := LaunchAgent(&tt.state, ours)
			if len(list) == 0 && tt.want == "" {
				return
			}
			if len(list) != 1 || list[0].Result != tt.want || !strings.Contains(list[0].Detail, tt.detail) || list[0].Next != tt.next {
				t.Errorf("got %+v", list)
			}
		})
	}
}
