package doctor

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/checkup"
)

// agentTimeout bounds the conversation with the agent: nobody is asked anything.
const agentTimeout = 10 * time.Second

// Agent checks the agent at socket as any client would: it lists the keys, and has the
// first of freely that is listed sign a file's hash, which is no login. freely are the
// fingerprints of keys that may sign without anybody being asked.
func Agent(ctx context.Context, socket string, freely []string) checkup.Check {
	const what = "agent"
	const why = "`vigilctl why` says why."
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return checkup.Failure(what, "Start the daemon: vigilctl up.", "%v", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil {
		return checkup.Failure(what, why, "doesn't list its keys: %v", err)
	}
	lists := "lists " + checkup.Count(len(keys), "key")
	i := slices.IndexFunc(keys, func(k *agent.Key) bool { return slices.Contains(freely, ssh.FingerprintSHA256(k)) })
	if i < 0 {
		return checkup.Fine(what, "%s; none of them signs now without a question", lists)
	}
	if err := signs(client, keys[i]); err != nil {
		return checkup.Failure(what, why, "%s, but %s doesn't sign: %v", lists, ssh.FingerprintSHA256(keys[i]), err)
	}
	return checkup.Fine(what, "%s, and %s signs", lists, ssh.FingerprintSHA256(keys[i]))
}

// signs has a key sign, and verifies the signature.
func signs(client agent.ExtendedAgent, key *agent.Key) error {
	public, err := ssh.ParsePublicKey(key.Blob)
	if err != nil {
		return fmt.Errorf("read public key: %w", err)
	}
	// What ssh-keygen -Y sign has an agent sign (OpenSSH's PROTOCOL.sshsig), in a namespace
	// that nothing else accepts.
	hash := make([]byte, 64)
	_, _ = rand.Read(hash) // never fails
	data := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Namespace, Reserved, Algorithm string
		Hash                           []byte
	}{"doctor@vigil", "", "sha512", hash})...)
	flags := agent.SignatureFlags(0)
	if public.Type() == ssh.KeyAlgoRSA {
		flags = agent.SignatureFlagRsaSha256 // without it, SHA-1
	}
	sig, err := client.SignWithFlags(key, data, flags)
	if err != nil {
		return err
	}
	return public.Verify(data, sig)
}
