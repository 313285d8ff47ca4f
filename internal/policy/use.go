package policy

import (
	"bytes"
	"fmt"
	"strings"

	"vigil/internal/agentproto"
	"vigil/internal/wire"
)

// Class is what kind of data a signature is over.
type Class string

// The classes of data.
const (
	ClassLogin       Class = "login"       // RFC 4252 section 7, with the key that signs
	ClassSSHSig      Class = "sshsig"      // OpenSSH's PROTOCOL.sshsig: a file, a git commit
	ClassCertificate Class = "certificate" // OpenSSH's PROTOCOL.certkeys, of which the key is the authority
	ClassUnknown     Class = "unknown"
)

// Use is what a signature is for, as the data to sign and the client's session binds prove
// it. It aliases both.
type Use struct {
	Class Class
	Login agentproto.Userauth // of ClassLogin
	// ByCertificate is set if the login is by a certificate for the key that signs. OpenSSH's
	// client has the key itself sign that. (sshconnect2.c: sign_and_send_pubkey.)
	ByCertificate bool
	Signature     agentproto.SSHSig // of ClassSSHSig
	// Certificate is the one to be signed, of ClassCertificate.
	Certificate *Certificate
	// Host is the host that a login is to, if the client has bound the connection to its
	// session; else nil.
	Host *Key
	// HostName is what the destination that permits the login calls the host; "": the key
	// has no destinations.
	HostName string
}

// Classify says what a signature by key over data is for, on path. Data that is nearly of
// a class is unknown. No data is of two classes: they differ in their first bytes.
func Classify(key *Key, path *Path, data []byte) Use {
	if sig, ok := agentproto.ParseSSHSig(data); ok {
		return Use{Class: ClassSSHSig, Signature: sig}
	}
	if login, ok := agentproto.ParseUserauth(data); ok {
		u := Use{Class: ClassLogin, Login: login, Host: path.hostOf(&login)}
		if bytes.Equal(login.Key, key.Blob) && key.algorithmFits(string(login.Algorithm)) {
			return u
		}
		c, err := ParseKey(login.Key)
		if err == nil && c.Cert != nil && bytes.Equal(c.Plain, key.Blob) && c.algorithmFits(string(login.Algorithm)) {
			u.ByCertificate = true
			return u
		}
	}
	if c := unsignedCertificate(data); c != nil && bytes.Equal(c.CA, key.Plain) {
		return Use{Class: ClassCertificate, Certificate: c}
	}
	return Use{Class: ClassUnknown}
}

// hostOf returns the host whose session a login is for, or nil.
func (p *Path) hostOf(login *agentproto.Userauth) *Key {
	if len(p.Bindings) == 0 {
		return nil
	}
	last := &p.Bindings[len(p.Bindings)-1]
	if last.Forwarding || !bytes.Equal(last.SessionID, login.SessionID) ||
		login.HostKey != nil && !bytes.Equal(login.HostKey, last.Host.Blob) {
		return nil
	}
	return &last.Host
}

// unsignedCertificate parses what an authority signs: a certificate up to its signature.
func unsignedCertificate(data []byte) *Certificate {
	r := wire.NewReader(data)
	if _, ok := plainType(string(r.String())); !ok {
		return nil
	}
	whole := append(bytes.Clone(data), 0, 0, 0, 0) // with an empty signature
	key, err := ParseKey(whole)
	if err != nil || key.Cert == nil || len(key.Cert.Signature) != 0 {
		return nil
	}
	return key.Cert
}

// Forwarded reports whether the request came through a forwarded agent, or may have: a
// client binds a connection that it forwards before anything else, and goes on if that is
// refused. A client that binds nothing, as OpenSSH's before 8.9, can't be told from a
// local one.
func (p *Path) Forwarded() bool {
	if p.Failed {
		return true
	}
	for i := range p.Bindings {
		if p.Bindings[i].Forwarding {
			return true
		}
	}
	return false
}

// String says what the use is, in a few words: "login as root to db1", "signature for
// git", "user certificate for alice"; "" for one that is unknown.
func (u *Use) String() string {
	switch u.Class {
	case ClassLogin:
		if u.HostName != "" {
			return "login as " + agentproto.Printable(u.Login.User) + " to " + agentproto.Printable(u.HostName)
		}
		return "login as " + agentproto.Printable(u.Login.User)
	case ClassSSHSig:
		return "signature for " + agentproto.Printable(u.Signature.Namespace)
	case ClassCertificate:
		return u.Certificate.describe()
	}
	return ""
}

// describe returns the kind of a certificate and whom it is for.
func (c *Certificate) describe() string {
	kind := "user"
	if c.Kind == HostCert {
		kind = "host"
	}
	if len(c.Principals) == 0 {
		return kind + " certificate for everyone"
	}
	shown := make([]string, 0, maxShownPrincipals+1)
	for i, p := range c.Principals {
		if i == maxShownPrincipals {
			shown = append(shown, fmt.Sprintf("and %d more", len(c.Principals)-i))
			break
		}
		shown = append(shown, agentproto.Printable(p))
	}
	return kind + " certificate for " + strings.Join(shown, ", ")
}

// maxShownPrincipals is how many names of a certificate a person is shown.
const maxShownPrincipals = 5
