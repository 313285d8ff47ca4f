package sshagent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/guard"
	"vigil/internal/wire"
)

// testKeeper is a Keeper that uses golang.org/x/crypto/ssh. Only it reads secrets in
// these tests.
type testKeeper struct {
	mu         sync.Mutex
	keys       map[uint64]ssh.Signer
	next       uint64
	passphrase []byte // nil: not locked
	bodies     []*guard.Buffer
	signing    func() // called before each signature, when set
}

func newTestKeeper() *testKeeper { return &testKeeper{keys: make(map[uint64]ssh.Signer)} }

// capture is an agent that keeps the one key it is given.
type capture struct {
	agent.Agent
	key agent.AddedKey
}

func (c *capture) Add(k agent.AddedKey) error { c.key = k; return nil }

// keyFields is how many strings make up a private key of each type in an
// ADD_IDENTITY, after the type.
var keyFields = map[string]int{
	"ssh-ed25519": 2, "ssh-rsa": 6, "ecdsa-sha2-nistp256": 3,
	"ssh-ed25519-cert-v01@openssh.com": 3,
}

func (k *testKeeper) Add(_ context.Context, body *guard.Buffer, constrained bool) (Added, error) {
	b := append([]byte(nil), body.Bytes()...)
	r := wire.NewReader(b)
	n, ok := keyFields[string(r.String())]
	if !ok {
		return Added{}, errors.New("key type not known to the test")
	}
	for range n {
		r.String()
	}
	if r.Err() != nil {
		return Added{}, r.Err()
	}
	tail, err := agentproto.ParseKeyTail(r.Rest(), constrained)
	if err != nil {
		return Added{}, err
	}
	message := append([]byte{agentproto.MsgAddIdentity}, b[:len(b)-r.Len()]...)
	added, err := parseWithXCrypto(wire.AppendString(message, tail.Comment))
	if err != nil {
		return Added{}, err
	}
	signer, err := ssh.NewSignerFromKey(added.PrivateKey)
	if err != nil {
		return Added{}, err
	}
	blob := signer.PublicKey().Marshal()
	if added.Certificate != nil {
		blob = added.Certificate.Marshal()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	k.keys[k.next] = signer
	k.bodies = append(k.bodies, body)
	return Added{Key: k.next, Blob: blob, Comment: string(tail.Comment), Constraints: tail.Constraints}, nil
}

func parseWithXCrypto(message []byte) (agent.AddedKey, error) {
	client, server := net.Pipe()
	c := &capture{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = agent.ServeAgent(c, server)
		server.Close()
	}()
	_, _ = client.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	var reply [5]byte
	_, _ = client.Read(reply[:])
	client.Close()
	<-done
	if c.key.PrivateKey == nil {
		return c.key, errors.New("x/crypto refused the key")
	}
	return c.key, nil
}

// SignThrough is for keys in security keys, of which it takes none.
func (k *testKeeper) SignThrough(context.Context, uint64, []byte, string, *os.File, *os.File, []byte) ([]byte, error) {
	return nil, ErrNoKey
}

func (k *testKeeper) Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error) {
	if k.signing != nil {
		k.signing()
	}
	k.mu.Lock()
	signer, ok := k.keys[key]
	k.mu.Unlock()
	if !ok {
		return nil, ErrNoKey
	}
	algorithm := ""
	if signer.PublicKey().Type() == ssh.KeyAlgoRSA {
		switch {
		case flags&agentproto.FlagRSASHA512 != 0:
			algorithm = ssh.KeyAlgoRSASHA512
		case flags&agentproto.FlagRSASHA256 != 0:
			algorithm = ssh.KeyAlgoRSASHA256
		case flags == agentproto.FlagRSASHA1:
			algorithm = ssh.KeyAlgoRSA
		default:
			return nil, errors.New("RSA with SHA-1 is not supported")
		}
	}
	sig, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, algorithm)
	if err != nil {
		return nil, err
	}
	return append(dst, ssh.Marshal(sig)...), nil
}

func (k *testKeeper) Remove(_ context.Context, key uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, key)
	return nil
}

func (k *testKeeper) RemoveAll(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.keys)
	return nil
}

func (k *testKeeper) held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.keys)
}

func (k *testKeeper) Lock(_ context.Context, body *guard.Buffer) error {
	p, err := agentproto.ParsePassphrase(body.Bytes())
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.passphrase != nil {
		return errors.New("locked already")
	}
	k.passphrase = append([]byte{}, p...)
	return nil
}

func (k *testKeeper) Unlock(_ context.Context, body *guard.Buffer) error {
	p, err := agentproto.ParsePassphrase(body.Bytes())
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.passphrase == nil || string(p) != string(k.passphrase) {
		return errors.New("wrong passphrase")
	}
	k.passphrase = nil
	return nil
}

// addSigner adds a key to the keeper that stands for a vault's key.
func (k *testKeeper) addSigner(s ssh.Signer) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	k.keys[k.next] = s
	return k.next
}

// refusals collects what was refused.
type refusals struct {
	mu  sync.Mutex
	all []Refusal
}

func (r *refusals) Refuse(x Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, x)
}

// last returns the reason of the last refusal, and forgets it.
func (r *refusals) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return ""
	}
	x := r.all[len(r.all)-1]
	r.all = r.all[:len(r.all)-1]
	return fmt.Sprintf("%s: %s", x.Request, x.Reason)
}
