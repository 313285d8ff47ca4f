package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigil/internal/agentproto"
)

// Binding is an SSH session that a connection was bound to, already verified.
type Binding struct {
	Host       Key // the host's key or certificate
	SessionID  []byte
	Forwarding bool // the connection was forwarded to Host; false: used to log in there
}

// Path is how a request reached the agent: the sessions its connection was
// bound to, first hop first.
type Path struct {
	Bindings []Binding
	Tried    bool // a bind was requested, successfully or not
	Failed   bool // a bind was refused
}

// Reasons for a refusal that more than one decision uses.
var (
	errBindsFailed = errors.New("the client's session binds were all refused, so where it is can't be told")
	errUnbound     = errors.New("the key is limited to destinations and the client didn't say which session it is for (it needs OpenSSH 8.9 or newer)")
	errForwardHop  = errors.New("the connection is bound for forwarding, not for logging in")
	errAfterAuth   = errors.New("the connection went on after a session that was bound for logging in")
)

// Visible decides whether a key limited to the destinations to is listed, and may be
// removed or replaced, on path. A key without destinations is always visible. now is
// for host certificates. (OpenSSH: identity_permitted without a user.)
//
// If the agent was forwarded, a key is visible only if it may be used beyond the
// last host, not just at it.
func Visible(to []agentproto.Destination, path *Path, now time.Time) error {
	if len(to) == 0 {
		return nil
	}
	if len(path.Bindings) == 0 {
		if path.Tried {
			return errBindsFailed
		}
		return nil
	}
	if err := walk(to, path.Bindings, nil, now); err != nil {
		return err
	}
	last := &path.Bindings[len(path.Bindings)-1]
	if last.Forwarding && !permits(to, &last.Host, nil, nil, now) {
		return errors.New("the key may be used at the host the agent was forwarded to, but not beyond it")
	}
	return nil
}

// MaySign decides whether a key limited to the destinations to may be used so on path. A
// key without destinations may sign anything. It returns the name that the destination
// gives the host, for the question a person is asked. (OpenSSH: process_sign_request2.)
func MaySign(to []agentproto.Destination, path *Path, u *Use, now time.Time) (host string, err error) {
	if len(to) == 0 {
		return "", nil
	}
	if len(path.Bindings) == 0 {
		if path.Tried {
			return "", errBindsFailed
		}
		return "", errUnbound
	}
	if u.Class != ClassLogin || u.ByCertificate {
		return "", errors.New("the key is limited to destinations and was asked to sign something else than a login with it")
	}
	last := &path.Bindings[len(path.Bindings)-1]
	if last.Forwarding {
		return "", errForwardHop
	}
	login := &u.Login
	user := string(login.User)
	if err := walk(to, path.Bindings, &user, now); err != nil {
		return "", err
	}
	switch {
	case !bytes.Equal(login.SessionID, last.SessionID):
		return "", errors.New("the login is for another session than the one the client bound last")
	case len(path.Bindings) > 1 && login.HostKey == nil:
		return "", errors.New("the login doesn't name the host's key, as it must when the agent is forwarded")
	case login.HostKey != nil && !bytes.Equal(login.HostKey, last.Host.Blob):
		return "", errors.New("the login is for another host key than the one the client bound last")
	}
	return lastHost(to, path.Bindings, &user, now), nil
}

// walk follows the hops of a path and requires a destination for each. user is
// checked at the last hop only; nil matches every pattern.
func walk(to []agentproto.Destination, hops []Binding, user *string, now time.Time) error {
	var from *Key
	for i := range hops {
		last := i == len(hops)-1
		if !last && !hops[i].Forwarding {
			return errAfterAuth
		}
		var as *string
		if last {
			as = user
		}
		if !permits(to, from, &hops[i].Host, as, now) {
			return refusedHop(i, as)
		}
		from = &hops[i].Host
	}
	return nil
}

func refusedHop(i int, user *string) error {
	if user != nil {
		return fmt.Errorf("no destination of the key allows hop %d of the way here as user %s", i+1, agentproto.Printable(*user))
	}
	return fmt.Errorf("no destination of the key allows hop %d of the way here", i+1)
}

// permits reports whether a destination allows the hop from one host to
// another. from is nil at the origin; a nil target matches every host, and a nil
// user every user pattern.
func permits(to []agentproto.Destination, from, target *Key, user *string, now time.Time) bool {
	return find(to, from, target, user, now) != nil
}

func find(to []agentproto.Destination, from, target *Key, user *string, now time.Time) *agentproto.Destination {
	for i := range to {
		d := &to[i]
		if from == nil && (d.From.Host != "" || len(d.From.Keys) != 0) ||
			from != nil && !hopHas(&d.From, from, now) ||
			target != nil && !hopHas(&d.To, target, now) ||
			user != nil && d.To.User != "" && !Match(*user, d.To.User) {
			continue
		}
		return d
	}
	return nil
}

func lastHost(to []agentproto.Destination, hops []Binding, user *string, now time.Time) string {
	var from *Key
	if len(hops) > 1 {
		from = &hops[len(hops)-2].Host
	}
	if d := find(to, from, &hops[len(hops)-1].Host, user, now); d != nil {
		return d.To.Host
	}
	return ""
}

// hopHas reports whether a hop names host: a plain key by itself, a certificate
// through the authority that signed it. (OpenSSH: match_key_hop.)
func hopHas(h *agentproto.Hop, host *Key, now time.Time) bool {
	for _, k := range h.Keys {
		if host.Cert == nil {
			if !k.CA && bytes.Equal(k.Blob, host.Blob) {
				return true
			}
			continue
		}
		if k.CA && bytes.Equal(k.Blob, host.Cert.CA) && host.Cert.checkHost(h.Host, now) == nil {
			return true
		}
	}
	return false
}

// caAlgorithms are the signatures accepted on a host certificate (OpenSSH:
// SSH_ALLOWED_CA_SIGALGS).
var caAlgorithms = []string{
	"ssh-ed25519",
	"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
	"rsa-sha2-512", "rsa-sha2-256",
}

// checkHost decides whether a certificate currently proves that its key belongs to
// the host name. Principals are patterns. (OpenSSH: sshkey_cert_check_host.)
func (c *Certificate) checkHost(name string, now time.Time) error {
	seconds := uint64(max(now.Unix(), 0))
	switch {
	case c.Kind != HostCert:
		return errors.New("not a host certificate")
	case seconds < c.ValidAfter:
		return errors.New("certificate not valid yet")
	case seconds >= c.ValidBefore:
		return errors.New("certificate expired")
	case len(c.Principals) == 0:
		return errors.New("certificate without principals")
	case !slices.ContainsFunc(c.Principals, func(p string) bool { return Match(name, p) }):
		return errors.New("name is not a principal of the certificate")
	case len(c.Critical) != 0:
		return errors.New("certificate has critical options")
	case !slices.Contains(caAlgorithms, c.SignatureAlgorithm()):
		return errors.New("certificate signed with an algorithm not accepted")
	}
	return nil
}

// CheckDestinations returns an error if a host key in to can't be parsed. OpenSSH
// refuses a key whose destinations it could never match.
func CheckDestinations(to []agentproto.Destination) error {
	for i := range to {
		for _, h := range []*agentproto.Hop{&to[i].From, &to[i].To} {
			for _, k := range h.Keys {
				if _, err := ParseKey(k.Blob); err != nil {
					return fmt.Errorf("destination %d: %w", i, err)
				}
			}
		}
	}
	return nil
}
