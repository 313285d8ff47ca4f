package sshagent

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

// userauth is what a client signs to log in at a host (RFC 4252 section 7, hostbound).
func userauth(session, user string, key []byte, h *host) []byte {
	b := append(wire.AppendString(nil, session), 50)
	for _, s := range []string{user, "ssh-connection", "publickey-hostbound-v00@openssh.com"} {
		b = wire.AppendString(b, s)
	}
	b = wire.AppendString(append(b, 1), "ssh-ed25519")
	return wire.AppendString(wire.AppendString(b, key), h.blob())
}

func fileSig(namespace string) []byte {
	return append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Algorithm, Hash string }{namespace, "", "sha512", "h"})...)
}

// person answers questions and remembers them.
type person struct {
	asked  []Question
	longer bool
	err    error
	wait   chan struct{} // nil: they answer at once
}

func (p *person) Confirm(_ context.Context, q Question) (bool, error) {
	p.asked = append(p.asked, q)
	if p.wait != nil {
		<-p.wait
	}
	return p.longer, p.err
}

// approving is a world with one key in vault main, a person, and a clock.
type approving struct {
	*world
	person
	key         VaultKey
	public      ssh.PublicKey
	origin      string
	now, asleep time.Duration
}

func newApproving(t *testing.T, approve policy.Approve) *approving {
	v := &approving{origin: "session 1", now: time.Hour}
	v.longer = true
	v.world = newWorld(t, func(o *Options) {
		o.Prompter = &v.person
		o.OriginOf = func(int) string { return v.origin }
		o.BootTime = func() time.Duration { return v.now }
		o.Slept = func() time.Duration { return v.asleep }
	})
	key := newKey(t)
	v.public = signerOf(t, key).PublicKey()
	v.key = v.vaultKey("k", key)
	v.key.Approve = approve
	v.SetVault("main", []VaultKey{v.key})
	return v
}

// through returns a connection through an agent forwarded to these hosts.
func (v *approving) through(hosts ...*host) *link {
	l := v.link()
	for i, h := range hosts {
		l.bound(h.bind("forward"+strings.Repeat("x", i), true))
	}
	return l
}

// logsIn has a host beyond the forwarded agent ask for a login at another one.
func (v *approving) logsIn(l *link, session, user string, at *host) error {
	l.bound(at.bind(session, false))
	_, err := l.Sign(v.public, userauth(session, user, v.key.Blob, at))
	return err
}

func TestWhatIsAskedFor(t *testing.T) {
	away, db := newHost(t), newHost(t)
	for _, tt := range []struct {
		approve                    policy.Approve
		login, file, unknown       string // asked, free
		farLogin, farFile, farElse string // asked, free, refused
	}{
		{policy.ApproveNever, "free", "free", "free", "free", "free", "free"},
		{"", "free", "free", "asked", "asked", "asked", "refused"},
		{policy.ApproveForwarded, "free", "free", "asked", "asked", "asked", "refused"},
		{policy.ApproveFirst, "asked", "asked", "asked", "asked", "asked", "refused"},
		{policy.ApproveAlways, "asked", "asked", "asked", "asked", "asked", "refused"},
	} {
		t.Run("approve "+string(tt.approve), func(t *testing.T) {
			v := newApproving(t, tt.approve)
			v.longer = false
			outcome := func(err error) string {
				asked := len(v.asked) > 0
				v.asked = nil
				switch {
				case err != nil && !asked:
					return "refused"
				case err != nil:
					return err.Error()
				case asked:
					return "asked"
				}
				return "free"
			}
			sign := func(l *link, data []byte) string {
				_, err := l.Sign(v.public, data)
				return outcome(err)
			}
			got := []string{
				outcome(v.logsIn(v.link(), "s", "root", db)), sign(v.link(), fileSig("git")), sign(v.link(), []byte("x")),
				outcome(v.logsIn(v.through(away), "s", "root", db)), sign(v.through(away), fileSig("git")), sign(v.through(away), []byte("x")),
			}
			want := []string{tt.login, tt.file, tt.unknown, tt.farLogin, tt.farFile, tt.farElse}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// A host that the agent is forwarded to can't look local by making the client's own bind
// fail and binding the connection itself.
func TestARefusedBindIsNoLocalConnection(t *testing.T) {
	v := newApproving(t, policy.ApproveForwarded)
	away, own := newHost(t), newHost(t)
	l := v.link()
	bad := away.bind("s1", true)
	bad.SessionID = []byte("another") // the signature doesn't fit
	l.notBound(bad, "")
	l.bound(own.bind("s2", false))
	for i := range 2 { // and no answer lasts
		if _, err := l.Sign(v.public, userauth("s2", "root", v.key.Blob, own)); err != nil || len(v.asked) != i+1 {
			t.Fatalf("%v, asked %d times", err, len(v.asked))
		}
		if q := v.asked[i].String(); !strings.Contains(q, "\nThrough an agent that may be forwarded") {
			t.Errorf("it looks local:\n%s", q)
		}
	}
}

// A pinentry cuts a text off after 1,000 bytes, escaped. Whatever others choose in it, what
// they can't choose is shown.
func TestLongTextsHideNothing(t *testing.T) {
	key := "SHA256:" + strings.Repeat("k", 43)
	for _, long := range []string{strings.Repeat("x", 5000), strings.Repeat("%", 5000), strings.Repeat("\U0001f511", 5000)} {
		q := Question{
			Comment: pubkey.CleanComment(long), Fingerprint: key, Purpose: "login as " + agentproto.Printable(long), Host: key, From: key, First: key, Hops: 16, Forwarded: true,
			Vault: strings.Repeat("v", 32), Peer: Peer{PID: 1, Program: long},
		}
		for _, text := range []string{q.String(), q.ForPassphrase()} {
			escaped := strings.NewReplacer("%", "%25", "\n", "%0A").Replace(text)
			shown := escaped[:min(len(escaped), 990)]
			if strings.Count(shown, key) != 4 || !strings.Contains(shown, "For: login as ") {
				t.Errorf("cut off: %s", shown)
			}
		}
	}
}

// Requests that wait for the same answer make one question.
func TestWhoWaitsSharesAnAnswer(t *testing.T) {
	v := newApproving(t, policy.ApproveFirst)
	v.wait = make(chan struct{})
	var all sync.WaitGroup
	for range maxWaiting {
		l := v.link()
		all.Go(func() {
			if _, err := l.Sign(v.public, fileSig("git")); err != nil {
				t.Error(err)
			}
		})
	}
	v.wait <- struct{}{}
	all.Wait()
	if len(v.asked) != 1 || v.Grants()[0].Uses != maxWaiting {
		t.Errorf("asked %d times, grants %+v", len(v.asked), v.Grants())
	}
}

func TestAnAnswerHoldsForWhatWasShown(t *testing.T) {
	away, db := newHost(t), newHost(t)
	for name, tt := range map[string]struct {
		change func(v *approving)
		hosts  []*host
		user   string
		at     *host
		asks   bool
	}{
		"the same":                    {hosts: []*host{away}, user: "root", at: db},
		"9 minutes later":             {hosts: []*host{away}, user: "root", at: db, change: func(v *approving) { v.now += 9 * time.Minute }},
		"10 minutes later":            {hosts: []*host{away}, user: "root", at: db, change: func(v *approving) { v.now += 10 * time.Minute }, asks: true},
		"after a sleep":               {hosts: []*host{away}, user: "root", at: db, change: func(v *approving) { v.asleep += 5 * time.Second }, asks: true},
		"another user":                {hosts: []*host{away}, user: "admin", at: db, asks: true},
		"another host":                {hosts: []*host{away}, user: "root", at: newHost(t), asks: true},
		"from another host":           {hosts: []*host{newHost(t)}, user: "root", at: db, asks: true},
		"from further away":           {hosts: []*host{away, newHost(t)}, user: "root", at: db, asks: true},
		"for another session's ssh":   {hosts: []*host{away}, user: "root", at: db, change: func(v *approving) { v.origin = "session 2" }, asks: true},
		"after it was revoked":        {hosts: []*host{away}, user: "root", at: db, change: func(v *approving) { v.Revoke(1) }, asks: true},
		"after another was revoked":   {hosts: []*host{away}, user: "root", at: db, change: func(v *approving) { v.Revoke(2) }},
		"after a change of the vault": {hosts: []*host{away}, user: "root", at: db, change: func(v *approving) { v.SetVault("main", []VaultKey{v.vaultKey("new", newKey(v.t)), v.key}) }},
		"after an edit of the key": {hosts: []*host{away}, user: "root", at: db, asks: true, change: func(v *approving) {
			v.key.Approve = policy.ApproveFirst
			v.SetVault("main", []VaultKey{v.key})
		}},
		"after a lock": {hosts: []*host{away}, user: "root", at: db, asks: true, change: func(v *approving) {
			locked := v.key
			locked.Signer = nil
			v.SetVault("main", []VaultKey{locked})
			v.SetVault("main", []VaultKey{v.key})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newApproving(t, policy.ApproveForwarded)
			must(t, v.logsIn(v.through(away), "s", "root", db))
			if g := v.Grants(); len(g) != 1 || g[0].Left != GrantTime || g[0].Purpose != "login as root" {
				t.Fatalf("grants %+v", g)
			}
			if tt.change != nil {
				tt.change(v)
			}
			must(t, v.logsIn(v.through(tt.hosts...), "t", tt.user, tt.at))
			if asks := len(v.asked) == 2; asks != tt.asks {
				t.Errorf("asked %d times", len(v.asked))
			}
		})
	}
}

func TestAnswersThatHoldOnce(t *testing.T) {
	away, db := newHost(t), newHost(t)
	ca := newApproving(t, policy.ApproveForwarded)
	cert := certify(t, signerOf(t, newKey(t)).PublicKey(), func(c *ssh.Certificate) { c.SignatureKey = ca.public })
	cert.SignatureKey, cert.Signature = ca.public, nil
	unsigned := cert.Marshal()
	unsigned = unsigned[:len(unsigned)-4] // the empty signature
	for name, sign := range map[string]func(v *approving) error{
		"with approve always": func(v *approving) error {
			v.key.Approve = policy.ApproveAlways
			v.SetVault("main", []VaultKey{v.key})
			return v.logsIn(v.link(), "s", "root", db)
		},
		"of a key with confirm": func(v *approving) error {
			v.key.Confirm = true
			v.SetVault("main", []VaultKey{v.key})
			return v.logsIn(v.link(), "s", "root", db)
		},
		"about an unknown host": func(v *approving) error {
			_, err := v.through(away).Sign(v.public, userauth("s", "root", v.key.Blob, db))
			return err
		},
		"about unknown data": func(v *approving) error { _, err := v.link().Sign(v.public, []byte("x")); return err },
	} {
		t.Run(name, func(t *testing.T) {
			v := newApproving(t, policy.ApproveForwarded)
			for i := range 2 {
				must(t, sign(v))
				if len(v.asked) != i+1 || v.asked[i].Longer != 0 || len(v.Grants()) != 0 {
					t.Fatalf("asked %+v, grants %v", v.asked, v.Grants())
				}
			}
		})
	}
	t.Run("about a certificate", func(t *testing.T) {
		for i := range 2 {
			sig, err := ca.link().Sign(ca.public, unsigned)
			must(t, err)
			must(t, ca.public.Verify(unsigned, sig))
			if len(ca.asked) != i+1 || ca.asked[i].Longer != 0 || ca.asked[i].Purpose != "user certificate for me" {
				t.Fatalf("asked %+v", ca.asked)
			}
		}
	})
}

func TestARefusalGrantsNothing(t *testing.T) {
	v := newApproving(t, policy.ApproveFirst)
	v.err = errors.New("declined")
	db := newHost(t)
	for i := range 2 {
		v.refused(v.logsIn(v.link(), "s", "root", db), "declined")
		if len(v.asked) != i+1 || len(v.Grants()) != 0 {
			t.Fatalf("asked %d times, grants %v", len(v.asked), v.Grants())
		}
	}
}

func TestGrantsAreBounded(t *testing.T) {
	v := newApproving(t, policy.ApproveFirst)
	l := v.link()
	for range maxGrants + 10 {
		_, err := l.Sign(v.public, fileSig(rand.Text()))
		must(t, err)
	}
	if n := len(v.Grants()); n != maxGrants {
		t.Errorf("%d grants", n)
	}
	if n := v.Revoke(0); n != maxGrants || len(v.Grants()) != 0 {
		t.Errorf("revoked %d", n)
	}
}
