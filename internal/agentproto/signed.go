package agentproto

import (
	"bytes"

	"vigil/internal/wire"
)

// Methods of a Userauth.
const (
	methodPublicKey = "publickey"                           // RFC 4252 section 7
	methodHostbound = "publickey-hostbound-v00@openssh.com" // OpenSSH's PROTOCOL section 3.1
)

const msgUserauthRequest = 50 // RFC 4252 section 6

// Userauth is what a client signs to log in (RFC 4252 section 7), parsed so that
// an agent can see where a signature goes.
type Userauth struct {
	SessionID []byte
	User      []byte
	Algorithm []byte // signature algorithm, which names the key type too
	Key       []byte // public key or certificate blob
	HostKey   []byte // the server's key; nil when the method is plain publickey
}

// ParseUserauth decodes data that a client wants signed, and reports whether it is exactly
// a login with method publickey or publickey-hostbound-v00@openssh.com for service
// ssh-connection. The result aliases data. (OpenSSH: parse_userauth_request.)
func ParseUserauth(data []byte) (Userauth, bool) {
	r := wire.NewReader(data)
	u := Userauth{SessionID: r.String()}
	number := r.Byte()
	user, service, method := r.String(), r.String(), r.String()
	hasSignature := r.Bool()
	algorithm := r.String()
	u.Key = r.String()
	hostbound := string(method) == methodHostbound
	if hostbound {
		u.HostKey = r.String()
	}
	switch {
	case r.End() != nil,
		len(u.SessionID) == 0,
		number != msgUserauthRequest,
		string(service) != "ssh-connection",
		!hasSignature,
		!hostbound && string(method) != methodPublicKey,
		hostbound && len(u.HostKey) == 0,
		bytes.IndexByte(user, 0) >= 0:
		return Userauth{}, false
	}
	u.User, u.Algorithm = user, algorithm
	return u, true
}

// SSHSig is what ssh-keygen -Y sign and git sign (OpenSSH's PROTOCOL.sshsig).
type SSHSig struct {
	Namespace []byte // "git", "file", …
	HashAlg   []byte
	Hash      []byte
}

// ParseSSHSig decodes data that a client wants signed as an SSHSIG, and reports
// whether it is one.
func ParseSSHSig(data []byte) (SSHSig, bool) {
	r := wire.NewReader(data)
	magic := string(r.Bytes(6))
	s := SSHSig{Namespace: r.String()}
	r.String() // reserved
	s.HashAlg, s.Hash = r.String(), r.String()
	if r.End() != nil || magic != "SSHSIG" {
		return SSHSig{}, false
	}
	return s, true
}
