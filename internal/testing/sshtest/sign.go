package sshtest

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// AddKey makes a key with ssh-keygen and imports it. Its private key file stays in
// the home, called name.
func (h *Home) AddKey(name string) {
	h.Helper()
	path := h.Path(name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path).CombinedOutput(); err != nil {
		h.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	h.OK("add", path)
}

// Client connects to the agent socket as ssh does.
func (h *Home) Client() agent.ExtendedAgent {
	h.Helper()
	conn, err := net.Dial("unix", h.Agent.Socket)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = conn.Close() })
	return agent.NewClient(conn)
}

// Listed returns the comments of the keys that the agent lists, sorted.
func (h *Home) Listed() (comments []string) {
	h.Helper()
	keys, err := h.Client().List()
	if err != nil {
		h.Fatal(err)
	}
	for _, k := range keys {
		comments = append(comments, k.Comment)
	}
	slices.Sort(comments)
	return comments
}

// Sign signs with the key of this comment and verifies the signature.
func (h *Home) Sign(comment string) error {
	h.Helper()
	return SignWith(h.Client(), comment)
}

// Signs fails the test for each key, named by its comment, that doesn't sign.
func (h *Home) Signs(comments ...string) {
	h.Helper()
	for _, comment := range comments {
		if err := h.Sign(comment); err != nil {
			h.Errorf("sign with %q: %v", comment, err)
		}
	}
}

// FileSig returns what ssh-keygen -Y sign has an agent sign (OpenSSH's PROTOCOL.sshsig). A
// vault's key signs other data that is no login only when a person allows it.
func FileSig(namespace string) []byte {
	return append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Algorithm, Hash string }{namespace, "", "sha512", strings.Repeat("h", 64)})...)
}

// SignWith signs with an agent's key of this comment and verifies the signature.
func SignWith(a agent.Agent, comment string) error {
	keys, err := a.List()
	if err != nil {
		return err
	}
	data := FileSig("file")
	for _, k := range keys {
		if k.Comment != comment {
			continue
		}
		sig, err := a.Sign(k, data)
		if err != nil {
			return err
		}
		pub, err := ssh.ParsePublicKey(k.Blob)
		if err != nil {
			return err
		}
		return pub.Verify(data, sig)
	}
	return fmt.Errorf("no key %q is listed", comment)
}
