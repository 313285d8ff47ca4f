package policy

import (
	"strings"
	"testing"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/wire"
)

// blob makes a public key blob that stands for name.
func blob(name string) []byte {
	b := wire.AppendString(nil, "ssh-ed25519")
	return wire.AppendString(b, name+strings.Repeat(".", 32-len(name)))
}

// certificate makes a host certificate; change may alter it before it is encoded.
type certificate struct {
	host        string
	kind        uint32
	principals  []string
	after       uint64
	before      uint64
	critical    []byte
	ca          []byte
	signatureBy string
}

func hostCert(change func(*certificate)) []byte {
	c := certificate{
		host: "db", kind: HostCert, principals: []string{"other", "db*"}, after: 1000, before: 2000,
		ca: blob("ca"), signatureBy: "ssh-ed25519",
	}
	if change != nil {
		change(&c)
	}
	b := wire.AppendString(nil, "ssh-ed25519-cert-v01@openssh.com")
	b = wire.AppendString(b, "nonce")
	b = append(b, blob(c.host)[4+len("ssh-ed25519"):]...)
	b = wire.AppendUint64(b, 7)
	b = wire.AppendUint32(b, c.kind)
	b = wire.AppendString(b, "key id")
	var names []byte
	for _, p := range c.principals {
		names = wire.AppendString(names, p)
	}
	b = wire.AppendString(b, names)
	b = wire.AppendUint64(wire.AppendUint64(b, c.after), c.before)
	b = wire.AppendString(b, c.critical)
	b = wire.AppendString(b, "") // extensions
	b = wire.AppendString(b, "") // reserved
	b = wire.AppendString(b, c.ca)
	return wire.AppendString(b, wire.AppendString(wire.AppendString(nil, c.signatureBy), "signature"))
}

func parse(t testing.TB, b []byte) Key {
	t.Helper()
	k, err := ParseKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// hop is one binding: to a host, forwarded there or logging in.
func hop(t testing.TB, host []byte, id string, forwarding bool) Binding {
	return Binding{Host: parse(t, host), SessionID: []byte(id), Forwarding: forwarding}
}

func to(from string, user, host string, keys ...agentproto.KeySpec) agentproto.Destination {
	d := agentproto.Destination{To: agentproto.Hop{User: user, Host: host, Keys: keys}}
	if from != "" {
		d.From = agentproto.Hop{Host: from, Keys: []agentproto.KeySpec{{Blob: blob(from)}}}
	}
	return d
}

func keyOf(host string) agentproto.KeySpec { return agentproto.KeySpec{Blob: blob(host)} }

// login is the data of a login; with host it is a hostbound one.
func login(id, user string, key, host []byte) []byte {
	b := wire.AppendString(nil, id)
	b = append(b, 50)
	b = wire.AppendString(b, user)
	b = wire.AppendString(b, "ssh-connection")
	if host == nil {
		b = wire.AppendString(b, "publickey")
	} else {
		b = wire.AppendString(b, "publickey-hostbound-v00@openssh.com")
	}
	b = append(b, 1)
	b = wire.AppendString(b, "ssh-ed25519")
	b = wire.AppendString(b, key)
	if host != nil {
		b = wire.AppendString(b, host)
	}
	return b
}

var now = time.Unix(1500, 0)

func TestMaySign(t *testing.T) {
	user := parse(t, blob("user"))
	// origin → jump, origin → db as root, jump → db as r*, jump → any CA host
	table := []agentproto.Destination{
		to("", "", "jump", keyOf("jump")),
		to("", "root", "db", keyOf("db")),
		to("jump", "r*", "db", keyOf("db")),
		to("jump", "", "db7", agentproto.KeySpec{Blob: blob("ca"), CA: true}),
	}
	const free = "" // no reason: permitted
	for _, c := range []struct {
		name string
		path Path
		data []byte
		want string // part of the reason
	}{
		{"first hop", Path{Bindings: []Binding{hop(t, blob("jump"), "1", false)}}, login("1", "me", user.Blob, nil), free},
		{"first hop, hostbound", Path{Bindings: []Binding{hop(t, blob("jump"), "1", false)}}, login("1", "me", user.Blob, blob("jump")), free},
		{"first hop as the right user", Path{Bindings: []Binding{hop(t, blob("db"), "1", false)}}, login("1", "root", user.Blob, nil), free},
		{"first hop as the wrong user", Path{Bindings: []Binding{hop(t, blob("db"), "1", false)}}, login("1", "me", user.Blob, nil), "hop 1"},
		{"wrong host", Path{Bindings: []Binding{hop(t, blob("evil"), "1", false)}}, login("1", "me", user.Blob, nil), "hop 1"},
		{
			"second hop",
			Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", false)}},
			login("2", "rita", user.Blob, blob("db")), free,
		},
		{
			"second hop, not hostbound",
			Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", false)}},
			login("2", "rita", user.Blob, nil), "doesn't name the host's key",
		},
		{
			"second hop, bound to another host key",
			Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", false)}},
			login("2", "rita", user.Blob, blob("jump")), "another host key",
		},
		{
			"second hop as the wrong user",
			Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", false)}},
			login("2", "me", user.Blob, blob("db")), "hop 2",
		},
		{
			"second hop through a host certificate",
			Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, hostCert(func(c *certificate) { c.principals = []string{"db?"} }), "2", false)}},
			login("2", "anyone", user.Blob, hostCert(func(c *certificate) { c.principals = []string{"db?"} })), free,
		},
		{
			"extra hop",
			Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", true), hop(t, blob("db"), "3", false)}},
			login("3", "root", user.Blob, blob("db")), "hop 3",
		},
		{
			"forwarded by a host not on the path",
			Path{Bindings: []Binding{hop(t, blob("evil"), "1", true), hop(t, blob("db"), "2", false)}},
			login("2", "root", user.Blob, blob("db")), "hop 1",
		},
		{"signing on a forwarding bind", Path{Bindings: []Binding{hop(t, blob("jump"), "1", true)}}, login("1", "me", user.Blob, nil), "bound for forwarding"},
		{
			"forwarding after a login",
			Path{Bindings: []Binding{hop(t, blob("jump"), "1", false), hop(t, blob("db"), "2", false)}},
			login("2", "root", user.Blob, blob("db")), "went on after",
		},
		{"another session", Path{Bindings: []Binding{hop(t, blob("jump"), "1", false)}}, login("9", "me", user.Blob, nil), "another session"},
		{"no bind", Path{}, login("1", "me", user.Blob, nil), "didn't say which session"},
		{"no bind succeeded", Path{Tried: true}, login("1", "me", user.Blob, nil), "all refused"},
		{"another key in the login", Path{Bindings: []Binding{hop(t, blob("jump"), "1", false)}}, login("1", "me", blob("other"), nil), "something else than a login"},
		{"not a login", Path{Bindings: []Binding{hop(t, blob("jump"), "1", false)}}, []byte("SSHSIG"), "something else than a login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			use := Classify(&user, &c.path, c.data)
			_, err := MaySign(table, &c.path, &use, now)
			switch {
			case err == nil && c.want != free:
				t.Fatalf("permitted; want a refusal with %q", c.want)
			case err != nil && (c.want == free || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("refused: %v; want %q", err, c.want)
			}
		})
	}
}

func TestMaySignAnythingWithoutDestinations(t *testing.T) {
	user := parse(t, blob("user"))
	for _, path := range []Path{{}, {Tried: true}, {Bindings: []Binding{hop(t, blob("jump"), "1", true)}}} {
		use := Classify(&user, &path, []byte("anything"))
		if _, err := MaySign(nil, &path, &use, now); err != nil {
			t.Error(err)
		}
	}
}

func TestMaySignSaysWhereTo(t *testing.T) {
	user := parse(t, blob("user"))
	table := []agentproto.Destination{to("", "", "jump", keyOf("jump")), to("jump", "r*", "db", keyOf("db"))}
	path := Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", false)}}
	use := Classify(&user, &path, login("2", "rita", user.Blob, blob("db")))
	got, err := MaySign(table, &path, &use, now)
	if err != nil || got != "db" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestVisible(t *testing.T) {
	table := []agentproto.Destination{
		to("", "", "jump", keyOf("jump")),
		to("", "", "end", keyOf("end")),
		to("jump", "root", "db", keyOf("db")),
	}
	for _, c := range []struct {
		name string
		path Path
		want bool
	}{
		{"local, unbound", Path{}, true},
		{"binds failed", Path{Tried: true}, false},
		{"logging in at an allowed host", Path{Bindings: []Binding{hop(t, blob("jump"), "1", false)}}, true},
		{"logging in elsewhere", Path{Bindings: []Binding{hop(t, blob("evil"), "1", false)}}, false},
		{"forwarded to a host it may be used beyond", Path{Bindings: []Binding{hop(t, blob("jump"), "1", true)}}, true},
		{"forwarded to a host where it ends", Path{Bindings: []Binding{hop(t, blob("end"), "1", true)}}, false},
		{"forwarded elsewhere", Path{Bindings: []Binding{hop(t, blob("evil"), "1", true)}}, false},
		{"second hop, whoever the user will be", Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", false)}}, true},
		{"forwarded on from the second hop", Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("db"), "2", true)}}, false},
		{"second hop elsewhere", Path{Bindings: []Binding{hop(t, blob("jump"), "1", true), hop(t, blob("evil"), "2", false)}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Visible(table, &c.path, now); (err == nil) != c.want {
				t.Fatalf("got %v", err)
			}
			if err := Visible(nil, &c.path, now); err != nil {
				t.Fatalf("without destinations: %v", err)
			}
		})
	}
}

func TestHostCertificates(t *testing.T) {
	ca := agentproto.KeySpec{Blob: blob("ca"), CA: true}
	for _, c := range []struct {
		name   string
		host   string
		key    agentproto.KeySpec
		change func(*certificate)
		want   bool
	}{
		{"a principal pattern fits", "db1", ca, nil, true},
		{"no principal fits", "web1", ca, nil, false},
		{"the authority's key given as a host key", "db1", agentproto.KeySpec{Blob: blob("ca")}, nil, false},
		{"another authority", "db1", agentproto.KeySpec{Blob: blob("other"), CA: true}, nil, false},
		{"the certified key given as a host key", "db1", keyOf("db"), nil, false},
		{"a user certificate", "db1", ca, func(c *certificate) { c.kind = UserCert }, false},
		{"not valid yet", "db1", ca, func(c *certificate) { c.after = 1501 }, false},
		{"valid from this second", "db1", ca, func(c *certificate) { c.after = 1500 }, true},
		{"expired this second", "db1", ca, func(c *certificate) { c.before = 1500 }, false},
		{"valid for ever", "db1", ca, func(c *certificate) { c.before = 1<<64 - 1 }, true},
		{"no principals", "db1", ca, func(c *certificate) { c.principals = nil }, false},
		{"a critical option", "db1", ca, func(c *certificate) {
			c.critical = wire.AppendString(wire.AppendString(nil, "x"), "")
		}, false},
		{"signed with SHA-1", "db1", ca, func(c *certificate) { c.signatureBy = "ssh-rsa" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := Path{Bindings: []Binding{hop(t, hostCert(c.change), "1", false)}}
			err := Visible([]agentproto.Destination{to("", "", c.host, c.key)}, &path, now)
			if (err == nil) != c.want {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestAnAuthorityIsNoHost(t *testing.T) {
	path := Path{Bindings: []Binding{hop(t, blob("ca"), "1", false)}}
	table := []agentproto.Destination{to("", "", "db", agentproto.KeySpec{Blob: blob("ca"), CA: true})}
	if Visible(table, &path, now) == nil {
		t.Fatal("a plain host key equal to the authority's passes")
	}
}

func TestCheckDestinations(t *testing.T) {
	if err := CheckDestinations([]agentproto.Destination{to("", "", "db", keyOf("db"))}); err != nil {
		t.Fatal(err)
	}
	bad := agentproto.KeySpec{Blob: wire.AppendString(nil, "ssh-future")}
	if err := CheckDestinations([]agentproto.Destination{to("", "", "db", bad)}); err == nil {
		t.Fatal("a host key of an unknown type passes")
	}
}
