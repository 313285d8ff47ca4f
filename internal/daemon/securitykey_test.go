package daemon

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/control"
	"vigil/internal/ipc"
	"vigil/internal/keyfile"
	"vigil/internal/keypair"
	"vigil/internal/securitykey"
	"vigil/internal/wire"
)

// helper writes a program that stands in for ssh-sk-helper.
func helper(t *testing.T, script string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root has a helper that belongs to root")
	}
	path := filepath.Join(t.TempDir(), "ssh-sk-helper")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// withHelper starts a daemon with a helper of its own.
func withHelper(t *testing.T, script string) *device {
	t.Helper()
	dev := deviceOf(t)
	dev.configure(fmt.Sprintf("security_key_helper = %q\n", helper(t, script)))
	dev.start()
	return dev
}

// newToken returns the encoding of a key in a security key that nobody has.
func newToken(t *testing.T) []byte {
	t.Helper()
	b := wire.AppendString(wire.AppendString(nil, keypair.TokenEd25519), newPrivate(t).Public().(ed25519.PublicKey))
	b = append(wire.AppendString(b, "ssh:"), 1)
	return wire.AppendString(wire.AppendString(b, "handle"), "")
}

// addToken adds a key in a security key as ssh-add does. (golang.org/x/crypto can't.)
func (dev *device) addToken(constraints ...byte) {
	dev.t.Helper()
	number := byte(agentproto.MsgAddIdentity)
	if len(constraints) > 0 {
		number = agentproto.MsgAddIDConstrained
	}
	message := append([]byte{number}, newToken(dev.t)...)
	message = append(wire.AppendString(message, "token"), constraints...)
	conn, err := net.Dial("unix", dev.paths.AgentSocket())
	if err != nil {
		dev.t.Fatal(err)
	}
	defer conn.Close()
	if err := ipc.Write(conn, agentproto.MaxMessage, message); err != nil {
		dev.t.Fatal(err)
	}
	reply, err := ipc.Read(conn, agentproto.MaxMessage)
	if err != nil || len(reply) != 1 || reply[0] != agentproto.MsgSuccess {
		dev.t.Fatalf("add: %x, %v; %q", reply, err, dev.why())
	}
}

// storeToken adds one to the vault.
func (dev *device) storeToken() {
	dev.t.Helper()
	file, err := keyfile.MarshalOpenSSH(newToken(dev.t), "token", nil)
	if err != nil {
		dev.t.Fatal(err)
	}
	must(dev, &control.AddRequest{Name: "token", KeyFile: text(dev.t, string(file))})
}

// token returns the listed key that is in a security key.
func (dev *device) token() *agent.Key {
	dev.t.Helper()
	keys := dev.listed()
	i := slices.IndexFunc(keys, func(k *agent.Key) bool { return k.Format == keypair.TokenEd25519 })
	if i < 0 {
		dev.t.Fatalf("listed %v", keys)
	}
	return keys[i]
}

// TestWhatAHelperAnswers is believed only if it is a signature by the key.
func TestWhatAHelperAnswers(t *testing.T) {
	// string "sk-ssh-ed25519@openssh.com", a signature of zeros, touched, counter 1
	const forged = `\0\0\0\160\5\0\0\0\1\0\0\0\147\0\0\0\032sk-ssh-ed25519@openssh.com\0\0\0\100%064d\1\0\0\0\1`
	const stay = "; exec sleep 600" // whoever closes a socket with unread data takes its own back
	for name, tt := range map[string]struct{ script, reason string }{
		"nothing":                    {"exit 0", "ended without an answer"},
		"junk":                       {`printf '\0\0\0\7\5junk!!'` + stay, "answer can't be read"},
		"a length without an end":    {`printf '\377\377\377\377\5'` + stay, "answer can't be read"},
		"half an answer":             {`printf '\0\0\0\377\5'`, "ended without an answer"},
		"another version":            {`printf '\0\0\0\11\6\0\0\0\0\0\0\0\74'` + stay, "another version"},
		"no such key":                {`printf '\0\0\0\11\5\0\0\0\0\0\0\0\74'` + stay, "no security key that is plugged in"},
		"that it wants a PIN":        {`printf '\0\0\0\11\5\0\0\0\0\0\0\0\53'` + stay, "PIN"},
		"a signature by another key": {"printf '" + forged + "' 0" + stay, "faulty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dev := withHelper(t, tt.script)
			dev.addToken()
			if err := sign(dev.agent(), dev.token()); err == nil {
				t.Fatal("signed")
			}
			if why := dev.why()[0]; !strings.Contains(why, tt.reason) {
				t.Errorf("why says %q, want %q", why, tt.reason)
			}
		})
	}
}

// TestAWaitForATouchHoldsNothing: other keys sign meanwhile, `status` shows it, and what
// ends the use of the key ends it.
func TestAWaitForATouchHoldsNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		end    func(dev *device)
		reason string
	}{
		"vigilctl lock": {func(dev *device) { dev.lock() }, "was locked"},
		"vigilctl rm": {func(dev *device) {
			must(dev, &control.RemoveRequest{Key: "token", Passphrase: text(dev.t, passphrase)})
		}, "changed or removed"},
		"ssh-add -x": {func(dev *device) {
			if err := dev.agent().Lock([]byte("secret")); err != nil {
				dev.t.Error(err)
			}
		}, "locked with ssh-add -x"},
	} {
		t.Run(name, func(t *testing.T) {
			dev := withHelper(t, "exec sleep 600")
			dev.init("")
			dev.generate("plain")
			dev.storeToken()
			token := dev.token()
			signed := make(chan error, 1)
			go func() { signed <- sign(dev.agent(), token) }()
			until(t, "the wait to be shown", func() bool {
				return strings.Contains(must(dev, &control.StatusRequest{}).Touch, "security key of token")
			})
			for _, key := range dev.listed() {
				if key.Format == "ssh-ed25519" {
					if err := sign(dev.agent(), key); err != nil {
						t.Error(err)
					}
				}
			}
			tt.end(dev)
			if err := <-signed; err == nil {
				t.Error("signed")
			}
			if why := dev.why()[0]; !strings.Contains(why, tt.reason) {
				t.Errorf("why says %q, want %q", why, tt.reason)
			}
			if touch := must(dev, &control.StatusRequest{}).Touch; touch != "" {
				t.Errorf("status still says %q", touch)
			}
		})
	}
}

// TestManyTokens: as many as other keys.
func TestManyTokens(t *testing.T) {
	dev := withHelper(t, "exit 0")
	const many = 1000
	for range many {
		dev.addToken()
	}
	if n := len(dev.listed()); n != many {
		t.Errorf("%d of %d are listed", n, many)
	}
}

// TestAWaitForATouchIsShown as long as it lasts.
func TestAWaitForATouchIsShown(t *testing.T) {
	k := &securityKeys{helper: securitykey.New(helper(t, "exec sleep 600"))}
	err := k.Run(t.Context(), "Touch the security key of work.\nFor: login as root", func(*os.File) error {
		if got := k.touch(); got != "Touch the security key of work. For: login as root" {
			t.Errorf("status says %q", got)
		}
		return nil
	})
	if err != nil || k.touch() != "" {
		t.Errorf("afterwards: %v, status says %q", err, k.touch())
	}
}
