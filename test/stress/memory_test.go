package stress

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"
)

// memories are the kinds of guarded memory, as start sets them.
var memories = []string{"memfd_secret", "mlock"}

// setMemory is the line of start's script that chooses the kind of guarded memory.
func setMemory(kind string) string {
	return `mkdir -p "$XDG_CONFIG_HOME/vigil"; echo 'secret_memory = "` + kind + `"' > "$XDG_CONFIG_HOME/vigil/config.toml"`
}

// TestKeysComeAndGo in guarded memory of each kind, which grows and shrinks meanwhile.
func TestKeysComeAndGo(t *testing.T) {
	for _, kind := range memories {
		t.Run(kind, func(t *testing.T) {
			d := start(t, setMemory(kind))
			together(t, 16, func(int) error {
				conn, err := net.Dial("unix", d.Socket)
				if err != nil {
					return err
				}
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(answerDeadline)); err != nil {
					return err
				}
				a := sshagent.NewClient(conn)
				for range 40 {
					public, err := addKey(a)
					if err != nil {
						return err
					}
					if err := signedBy(a, public); err != nil {
						return err
					}
					if err := a.Remove(public); err != nil {
						return err
					}
				}
				return nil
			})
			if err := d.sign(d.dial(t), []byte("at last")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTheLockLimitRefusesOnlyTheNextKey: who may add keys can't harm those that are there.
func TestTheLockLimitRefusesOnlyTheNextKey(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("no lock limit holds root")
	}
	const most = 2_000 // more than fit, and fewer than an agent takes
	for _, kind := range memories {
		t.Run(kind, func(t *testing.T) {
			d := start(t, setMemory(kind), "ulimit -l 96")
			conn := d.dial(t)
			a := sshagent.NewClient(conn)
			var keys []ssh.PublicKey
			for len(keys) < most {
				if err := conn.SetDeadline(time.Now().Add(answerDeadline)); err != nil {
					t.Fatal(err)
				}
				key, err := addKey(a)
				if err != nil {
					break
				}
				keys = append(keys, key)
			}
			if len(keys) < 100 || len(keys) == most {
				t.Fatalf("%d keys were added", len(keys))
			}
			for _, i := range []int{0, len(keys) / 2, len(keys) - 1} {
				if err := signedBy(a, keys[i]); err != nil {
					t.Errorf("key %d of %d: %v", i, len(keys), err)
				}
			}
			if err := a.Remove(keys[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := addKey(a); err != nil {
				t.Errorf("after one was removed: %v", err)
			}
			if log, err := os.ReadFile(d.LogFile); err != nil || bytes.Contains(log, []byte("ended by itself")) {
				t.Errorf("the keeper ended by itself: %v", err)
			}
		})
	}
}

func addKey(a sshagent.ExtendedAgent) (ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := a.Add(sshagent.AddedKey{PrivateKey: private}); err != nil {
		return nil, fmt.Errorf("add a key: %w", err)
	}
	return ssh.NewPublicKey(public)
}

func signedBy(a sshagent.ExtendedAgent, key ssh.PublicKey) error {
	sig, err := a.Sign(key, []byte("data"))
	if err != nil {
		return err
	}
	return key.Verify([]byte("data"), sig)
}
