package policy

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"vigil/internal/wire"
)

// sshsig is what ssh-keygen -Y sign has an agent sign.
func sshsig(namespace string) []byte {
	b := wire.AppendString([]byte("SSHSIG"), namespace)
	b = wire.AppendString(b, "")
	b = wire.AppendString(b, "sha512")
	return wire.AppendString(b, strings.Repeat("h", 64))
}

// unsigned is what ssh-keygen -s has an agent sign: the certificate without its signature.
func unsigned(change func(*certificate)) []byte {
	whole := hostCert(change)
	key, err := ParseKey(whole)
	if err != nil {
		panic(err)
	}
	return key.Cert.Signed
}

func TestClassify(t *testing.T) {
	user, ca := parse(t, blob("user")), parse(t, blob("ca"))
	cert := parse(t, hostCert(func(c *certificate) { c.kind = UserCert }))
	bound := Path{Bindings: []Binding{hop(t, blob("db"), "1", false)}}
	far := Path{Bindings: []Binding{hop(t, blob("jump"), "0", true), hop(t, blob("db"), "1", false)}}
	certLogin := login("1", "me", cert.Blob, nil)
	certLogin = bytes.Replace(certLogin, wire.AppendString(nil, "ssh-ed25519"), wire.AppendString(nil, "ssh-ed25519-cert-v01@openssh.com"), 1)
	for _, c := range []struct {
		name string
		key  Key
		path Path
		data []byte
		want Class
		says string
		host bool
	}{
		{"a login", user, Path{}, login("1", "root", user.Blob, nil), ClassLogin, "login as root", false},
		{"a login on a bound connection", user, bound, login("1", "root", user.Blob, nil), ClassLogin, "login as root", true},
		{"a hostbound login", user, bound, login("1", "root", user.Blob, blob("db")), ClassLogin, "login as root", true},
		{"a login behind a forwarded agent", user, far, login("1", "root", user.Blob, blob("db")), ClassLogin, "login as root", true},
		{"a login of another session", user, bound, login("2", "root", user.Blob, nil), ClassLogin, "login as root", false},
		{"a login that names another host", user, bound, login("1", "root", user.Blob, blob("evil")), ClassLogin, "login as root", false},
		{"a login by a host the agent is forwarded to", user, Path{Bindings: far.Bindings[:1]}, login("0", "root", user.Blob, nil), ClassLogin, "login as root", false},
		{"a login with a certificate", cert, bound, certLogin, ClassLogin, "login as me", true},
		{"a login by a certificate for the key", parse(t, cert.Plain), bound, certLogin, ClassLogin, "login as me", true},
		{"a login by a certificate for another key", user, bound, certLogin, ClassUnknown, "", false},
		{"a login with another key", user, bound, login("1", "root", blob("other"), nil), ClassUnknown, "", false},
		{"a login with the key in the certificate", cert, bound, login("1", "root", cert.Plain, nil), ClassUnknown, "", false},
		{"a login and a byte", user, bound, append(login("1", "root", user.Blob, nil), 0), ClassUnknown, "", false},
		{"a login cut short", user, bound, login("1", "root", user.Blob, nil)[:60], ClassUnknown, "", false},
		{"a signature of a file", user, Path{}, sshsig("git"), ClassSSHSig, "signature for git", false},
		{"a signature and a byte", user, Path{}, append(sshsig("git"), 0), ClassUnknown, "", false},
		{"a namespace that writes lines", user, Path{}, sshsig("a\nlogin as root"), ClassSSHSig, "signature for a?login as root", false},
		{"a user certificate", ca, Path{}, unsigned(func(c *certificate) { c.kind = UserCert }), ClassCertificate, "user certificate for other, db*", false},
		{"a host certificate", ca, Path{}, unsigned(nil), ClassCertificate, "host certificate for other, db*", false},
		{"a certificate for all", ca, Path{}, unsigned(func(c *certificate) { c.principals = nil }), ClassCertificate, "host certificate for everyone", false},
		{"a certificate for many", ca, Path{}, unsigned(func(c *certificate) { c.principals = strings.Split("abcdefgh", "") }), ClassCertificate, "host certificate for a, b, c, d, e, and 3 more", false},
		{"a certificate of another authority", user, Path{}, unsigned(nil), ClassUnknown, "", false},
		{"a certificate with its signature", ca, Path{}, hostCert(nil), ClassUnknown, "", false},
		{"a certificate cut short", ca, Path{}, unsigned(nil)[:80], ClassUnknown, "", false},
		{"nothing", user, Path{}, nil, ClassUnknown, "", false},
		{"a challenge", user, Path{}, bytes.Repeat([]byte("x"), 32), ClassUnknown, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := bytes.Clone(c.data)
			u := Classify(&c.key, &c.path, c.data)
			if u.Class != c.want || u.String() != c.says || (u.Host != nil) != c.host {
				t.Errorf("got %s %q, host known: %v; want %s %q, %v", u.Class, u.String(), u.Host != nil, c.want, c.says, c.host)
			}
			if !bytes.Equal(before, c.data) {
				t.Error("the data was changed")
			}
		})
	}
}

func TestForwarded(t *testing.T) {
	for _, c := range []struct {
		name string
		path Path
		want bool
	}{
		{"unbound", Path{}, false},
		{"logging in", Path{Bindings: []Binding{hop(t, blob("db"), "1", false)}, Tried: true}, false},
		{"forwarded", Path{Bindings: []Binding{hop(t, blob("db"), "1", true)}, Tried: true}, true},
		{"forwarded, then bound by the host", Path{Bindings: []Binding{hop(t, blob("db"), "1", true), hop(t, blob("x"), "2", false)}, Tried: true}, true},
		{"a refused bind", Path{Tried: true, Failed: true}, true},
		{"a refused bind, then one by the host", Path{Bindings: []Binding{hop(t, blob("x"), "2", false)}, Tried: true, Failed: true}, true},
	} {
		if got := c.path.Forwarded(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestJudge(t *testing.T) {
	classes := []Class{ClassLogin, ClassSSHSig, ClassCertificate, ClassUnknown}
	for _, c := range []struct {
		approve     Approve
		local, away string // of login, sshsig, certificate, unknown: permit, ask, refuse
		lasts       string
	}{
		{ApproveNever, "pppp", "pppp", "yynn"},
		{"", "ppaa", "aaar", "yynn"},
		{ApproveForwarded, "ppaa", "aaar", "yynn"},
		{ApproveFirst, "aaaa", "aaar", "yynn"},
		{ApproveAlways, "aaaa", "aaar", "nnnn"},
	} {
		var local, away, lasts []byte
		for _, class := range classes {
			u := &Use{Class: class}
			local = append(local, "par"[c.approve.Judge(u, false)])
			away = append(away, "par"[c.approve.Judge(u, true)])
			lasts = append(lasts, "ny"[map[bool]int{true: 1}[c.approve.Lasts(u)]])
		}
		if string(local) != c.local || string(away) != c.away || string(lasts) != c.lasts {
			t.Errorf("%q: local %s, forwarded %s, lasts %s; want %s, %s, %s", c.approve, local, away, lasts, c.local, c.away, c.lasts)
		}
	}
}

// A stricter setting permits nothing that a laxer one doesn't.
func TestStricterPermitsLess(t *testing.T) {
	for i, a := range approvals {
		for _, b := range approvals[:i] {
			if !a.Stricter(b) || b.Stricter(a) || a.Stricter(a) {
				t.Errorf("%q and %q", a, b)
			}
			for _, class := range []Class{ClassLogin, ClassSSHSig, ClassCertificate, ClassUnknown} {
				for _, forwarded := range []bool{false, true} {
					u := &Use{Class: class}
					if a.Judge(u, forwarded) < b.Judge(u, forwarded) || a.Lasts(u) && !b.Lasts(u) {
						t.Errorf("%s, forwarded %v: %q does more than %q", class, forwarded, a, b)
					}
				}
			}
		}
	}
	for _, text := range []string{"", "Never", "sometimes"} {
		if _, ok := ParseApprove(text); ok {
			t.Errorf("%q is a value", text)
		}
	}
}

// FuzzClassify holds that what is shown to a person is what others read in the data: a
// login is one for x/crypto's server too, and a certificate that gets a signature is the
// certificate that was shown.
func FuzzClassify(f *testing.F) {
	user, ca := parse(f, blob("user")), parse(f, blob("ca"))
	for _, seed := range [][]byte{
		login("1", "root", user.Blob, nil), login("1", "root", user.Blob, blob("db")), sshsig("git"), sshsig("file"),
		unsigned(nil), unsigned(func(c *certificate) { c.kind = UserCert }), []byte("challenge"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, key := range []*Key{&user, &ca} {
			u := Classify(key, &Path{}, data)
			if s := u.String(); strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) || (s == "") != (u.Class == ClassUnknown) {
				t.Fatalf("a %s is shown as %q", u.Class, s)
			}
			switch u.Class {
			case ClassSSHSig:
				again := wire.AppendString([]byte("SSHSIG"), u.Signature.Namespace)
				if !bytes.HasPrefix(data, again) {
					t.Fatal("another namespace")
				}
			case ClassLogin:
				again := wire.AppendString(nil, u.Login.SessionID)
				again = append(again, 50)
				if !bytes.HasPrefix(data, wire.AppendString(again, u.Login.User)) || !u.ByCertificate && !bytes.Equal(u.Login.Key, key.Blob) {
					t.Fatal("another user, or key")
				}
			case ClassCertificate:
				signed := wire.AppendString(bytes.Clone(data), wire.AppendString(wire.AppendString(nil, "ssh-ed25519"), make([]byte, 64)))
				public, err := ssh.ParsePublicKey(signed)
				if err != nil {
					continue // x/crypto looks at the numbers too
				}
				c := public.(*ssh.Certificate)
				if !slices.Equal(c.ValidPrincipals, u.Certificate.Principals) || c.CertType != u.Certificate.Kind || !bytes.Equal(c.SignatureKey.Marshal(), key.Plain) {
					t.Fatalf("x/crypto reads %v", c)
				}
			case ClassUnknown:
			}
		}
	})
}
