package sshagent

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/wire"
)

// host is a server in a chain: its key, and possibly a certificate for it.
type host struct {
	t      testing.TB
	signer ssh.Signer
	cert   []byte
}

func newHost(t testing.TB) *host { return &host{t: t, signer: signerOf(t, newKey(t))} }

func (h *host) blob() []byte {
	if h.cert != nil {
		return h.cert
	}
	return h.signer.PublicKey().Marshal()
}

// certified gives the host a certificate.
func (h *host) certified(ca ssh.Signer, change func(*ssh.Certificate)) *host {
	c := &ssh.Certificate{
		Key: h.signer.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"db"}, ValidBefore: ssh.CertTimeInfinity,
	}
	if change != nil {
		change(c)
	}
	must(h.t, c.SignCert(rand.Reader, ca))
	return &host{t: h.t, signer: h.signer, cert: c.Marshal()}
}

// bind is what a client sends once it has reached the host.
func (h *host) bind(session string, forwarding bool) agentproto.SessionBind {
	sig, err := h.signer.Sign(rand.Reader, []byte(session))
	must(h.t, err)
	return agentproto.SessionBind{HostKey: h.blob(), SessionID: []byte(session), Signature: ssh.Marshal(sig), Forwarding: forwarding}
}

// link is a connection with the binds that x/crypto's client lacks.
type link struct {
	agent.ExtendedAgent
	w *world
}

func (w *world) link() *link { return &link{ExtendedAgent: w.client(), w: w} }

// bindData is what the extension carries.
func bindData(b agentproto.SessionBind) []byte {
	data := wire.AppendString(wire.AppendString(wire.AppendString(nil, b.HostKey), b.SessionID), b.Signature)
	return wire.AppendBool(data, b.Forwarding)
}

// bind returns the type of the agent's reply.
func (l *link) bind(b agentproto.SessionBind) byte {
	l.w.t.Helper()
	switch _, err := l.Extension(agentproto.ExtSessionBind, bindData(b)); err {
	case nil:
		return agentproto.MsgSuccess
	case agent.ErrExtensionUnsupported:
		return agentproto.MsgFailure
	}
	return agentproto.MsgExtensionFailure
}

func (l *link) bound(b agentproto.SessionBind) {
	l.w.t.Helper()
	if got := l.bind(b); got != agentproto.MsgSuccess {
		l.w.t.Fatalf("bind answered %d: %s", got, l.w.refusals.last())
	}
}

func (l *link) notBound(b agentproto.SessionBind, reason string) {
	l.w.t.Helper()
	if got := l.bind(b); got != agentproto.MsgExtensionFailure {
		l.w.t.Fatalf("bind answered %d", got)
	}
	if got := l.w.refusals.last(); !strings.Contains(got, reason) {
		l.w.t.Fatalf("refused with %q, want %q", got, reason)
	}
}

func TestSessionBind(t *testing.T) {
	w := newWorld(t, nil)
	a, b := newHost(t), newHost(t)
	l := w.link()
	wrong := a.bind("1", true)
	wrong.SessionID = []byte("2")
	l.notBound(wrong, "signature over the session is wrong")
	borrowed := a.bind("1", true)
	borrowed.HostKey = b.blob()
	l.notBound(borrowed, "signature over the session is wrong")
	l.notBound(a.bind(strings.Repeat("i", agentproto.MaxSessionID+1), true), "identifier of 129 bytes")
	l.bound(a.bind(strings.Repeat("i", agentproto.MaxSessionID), true))
	l.bound(a.bind("1", true))
	l.bound(a.bind("1", true)) // repeating a bind is allowed
	l.bound(a.bind("2", true)) // and so is another session with the host
	l.notBound(b.bind("1", true), "another host key")
	l.bound(b.bind("3", false))
	l.notBound(b.bind("4", false), "already bound for logging in")
	l.notBound(b.bind("4", true), "already bound for logging in")

	future := agentproto.SessionBind{HostKey: wire.AppendString(nil, "ssh-future"), SessionID: []byte("1"), Signature: []byte("x")}
	w.link().notBound(future, "unknown key type")
}

func TestSessionBindsAreLimited(t *testing.T) {
	w := newWorld(t, nil)
	h := newHost(t)
	l := w.link()
	for i := range agentproto.MaxBinds {
		l.bound(h.bind(fmt.Sprint(i), true))
	}
	l.bound(h.bind("3", true))
	l.notBound(h.bind("one more", true), "16 sessions")
}

func TestSessionBindWhileLocked(t *testing.T) {
	w := newWorld(t, nil)
	key, a, b := newKey(t), newHost(t), newHost(t)
	must(t, w.link().Add(restricted(&key, direct(a))))
	must(t, w.link().Lock([]byte("pass")))
	l := w.link()
	l.bound(b.bind("1", true))
	must(t, w.link().Unlock([]byte("pass")))
	if got := w.comments(l); got != "" {
		t.Fatalf("a connection bound while locked sees %q", got)
	}
}

func TestHostKeyTypes(t *testing.T) {
	ec := func(c elliptic.Curve) any {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		must(t, err)
		return k
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	verifyBind := func(t *testing.T, b agentproto.SessionBind, reason string) {
		t.Helper()
		w := newWorld(t, nil)
		if reason != "" {
			w.link().notBound(b, reason)
			return
		}
		w.link().bound(b)
		b.SessionID = []byte("another")
		w.link().notBound(b, "signature")
	}
	for name, key := range map[string]any{
		"ed25519": newKey(t), "p256": ec(elliptic.P256()), "p384": ec(elliptic.P384()), "p521": ec(elliptic.P521()),
	} {
		t.Run(name, func(t *testing.T) {
			h := &host{t: t, signer: signerOf(t, key)}
			verifyBind(t, h.bind("id", false), "")
			verifyBind(t, h.certified(signerOf(t, newKey(t)), nil).bind("id", false), "")
		})
	}
	for algorithm, reason := range map[string]string{
		ssh.KeyAlgoRSASHA256: "", ssh.KeyAlgoRSASHA512: "", ssh.KeyAlgoRSA: "algorithm that is not accepted",
	} {
		t.Run(algorithm, func(t *testing.T) {
			h := &host{t: t, signer: signerOf(t, rsaKey)}
			b := h.bind("id", false)
			sig, err := h.signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, []byte("id"), algorithm)
			must(t, err)
			b.Signature = ssh.Marshal(sig)
			verifyBind(t, b, reason)
		})
	}
	t.Run("rsa of a giant size", func(t *testing.T) {
		modulus := new(big.Int).Lsh(big.NewInt(1), maxRSABits)
		key := ssh.Marshal(struct {
			Type string
			E, N *big.Int
		}{ssh.KeyAlgoRSA, big.NewInt(65537), modulus})
		sig := ssh.Marshal(struct{ Format, Blob string }{ssh.KeyAlgoRSASHA256, "x"})
		verifyBind(t, agentproto.SessionBind{HostKey: key, SessionID: []byte("id"), Signature: sig}, "RSA key of 16385 bits")
	})
	t.Run("dsa", func(t *testing.T) {
		key := ssh.Marshal(struct {
			Type       string
			P, Q, G, Y *big.Int
		}{"ssh-dss", big.NewInt(7), big.NewInt(3), big.NewInt(2), big.NewInt(4)})
		verifyBind(t, agentproto.SessionBind{HostKey: key, SessionID: []byte("id"), Signature: []byte("x")}, "unknown key type")
	})
	t.Run("mldsa44-ed25519", func(t *testing.T) {
		verifyBind(t, compositeBind(t, "id"), "")
		half := compositeBind(t, "id")
		half.Signature[len(half.Signature)-1] ^= 1 // the Ed25519 half
		verifyBind(t, half, "signature")
		half = compositeBind(t, "id")
		half.Signature[100] ^= 1 // the ML-DSA half
		verifyBind(t, half, "signature")
	})
}

func compositeBind(t *testing.T, session string) agentproto.SessionBind {
	lattice, err := mldsa.GenerateKey(mldsa.MLDSA44())
	must(t, err)
	ed := newKey(t)
	hash := sha512.Sum512([]byte(session))
	message := []byte("CompositeAlgorithmSignatures2025COMPSIG-MLDSA44-Ed25519-SHA512\x00" + string(hash[:]))
	sig, err := lattice.Sign(rand.Reader, message, &mldsa.Options{Context: "COMPSIG-MLDSA44-Ed25519-SHA512"})
	must(t, err)
	sig = append(sig, ed25519.Sign(ed, message)...)
	public := append(lattice.PublicKey().Bytes(), ed.Public().(ed25519.PublicKey)...)
	name := "ssh-mldsa44-ed25519@openssh.com"
	return agentproto.SessionBind{
		HostKey:   wire.AppendString(wire.AppendString(nil, name), public),
		SessionID: []byte(session),
		Signature: wire.AppendString(wire.AppendString(nil, name), sig),
	}
}

func TestHostCertificateMustBeSigned(t *testing.T) {
	w := newWorld(t, nil)
	h := newHost(t).certified(signerOf(t, newKey(t)), nil)
	b := h.bind("1", false)
	b.HostKey[len(b.HostKey)-1] ^= 1
	w.link().notBound(b, "certificate's signature is wrong")
}

// restricted is a key with destinations, as ssh-add -h adds it.
func restricted(key any, to ...agentproto.Destination) agent.AddedKey {
	return agent.AddedKey{
		PrivateKey: key, Comment: "limited",
		ConstraintExtensions: []agent.ConstraintExtension{{
			ExtensionName:    agentproto.ExtRestrictDest,
			ExtensionDetails: agentproto.AppendDestinations(nil, to),
		}},
	}
}

func direct(h *host) agentproto.Destination { return via(nil, h, "") }

func via(from, to *host, user string) agentproto.Destination {
	d := agentproto.Destination{To: agentproto.Hop{User: user, Host: "db", Keys: []agentproto.KeySpec{{Blob: to.blob()}}}}
	if from != nil {
		d.From = agentproto.Hop{Host: "jump", Keys: []agentproto.KeySpec{{Blob: from.blob()}}}
	}
	return d
}

// login is what a client signs to log in, hostbound when h is given.
func login(session, user string, key ssh.PublicKey, h *host) []byte {
	b := wire.AppendString(nil, session)
	b = append(b, 50)
	b = wire.AppendString(wire.AppendString(b, user), "ssh-connection")
	method := "publickey"
	if h != nil {
		method = "publickey-hostbound-v00@openssh.com"
	}
	b = append(wire.AppendString(b, method), 1)
	b = wire.AppendString(wire.AppendString(b, key.Type()), key.Marshal())
	if h != nil {
		b = wire.AppendString(b, h.blob())
	}
	return b
}

// A refusal says what was to be signed and, as far as the client bound it, where.
func TestRefusalsNameTheirHosts(t *testing.T) {
	w := newWorld(t, nil)
	jump, db := newHost(t), newHost(t)
	locked := w.vaultKey("k", newKey(t))
	locked.Signer = nil
	w.SetVault("main", []VaultKey{locked})
	public, err := ssh.ParsePublicKey(locked.Blob)
	must(t, err)
	l := w.link()
	fingerprint := func(h *host) string { return ssh.FingerprintSHA256(h.signer.PublicKey()) }
	want := func(purpose, host, from string) {
		t.Helper()
		_, _ = l.Sign(public, login("3", "root", public, db))
		r := w.refusals.all[len(w.refusals.all)-1]
		if r.Purpose != purpose || r.Host != host || r.From != from || r.Peer.Program != "/usr/bin/ssh" {
			t.Errorf("recorded %+v", r)
		}
	}
	want("login as root", "", "")
	l.bound(jump.bind("1", true))
	want("login as root", "", fingerprint(jump))
	l.bound(db.bind("3", false))
	want("login as root", fingerprint(db), fingerprint(jump))
}

// Both kinds of keys, those of ssh-add and those of a vault, are restricted to their
// destinations over a chain of three hosts.
func TestDestinationsOverAChain(t *testing.T) {
	jump, db, evil := newHost(t), newHost(t), newHost(t)
	key := newKey(t)
	public := signerOf(t, key).PublicKey()
	chain := []agentproto.Destination{direct(jump), via(jump, db, "ro*")}
	for _, kind := range []string{"added", "vault"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, nil)
			if kind == "added" {
				must(t, w.link().Add(restricted(&key, chain...)))
			} else {
				k := w.vaultKey("limited", key)
				k.To = chain
				w.SetVault("main", []VaultKey{k})
			}
			sees := func(l *link, want string) {
				t.Helper()
				if got := w.comments(l); got != want {
					t.Fatalf("sees %q, want %q", got, want)
				}
			}
			l := w.link()
			sees(l, "limited")
			_, err := l.Sign(public, login("1", "root", public, nil))
			w.refused(err, "didn't say which session")

			l = w.link()
			l.bound(jump.bind("1", false))
			sees(l, "limited")
			_, err = l.Sign(public, login("1", "me", public, nil))
			must(t, err)

			l = w.link()
			l.bound(jump.bind("1", true))
			sees(l, "limited")
			l.bound(db.bind("2", false))
			sees(l, "limited")
			_, err = l.Sign(public, login("2", "root", public, db))
			must(t, err)
			_, err = l.Sign(public, login("2", "me", public, db))
			w.refused(err, "hop 2")
			_, err = l.Sign(public, []byte("anything"))
			w.refused(err, "something else than a login")

			l = w.link()
			l.bound(jump.bind("1", true))
			l.bound(db.bind("2", true))
			sees(l, "")
			l.bound(db.bind("3", false))
			_, err = l.Sign(public, login("3", "root", public, db))
			w.refused(err, "hop 3")

			l = w.link()
			l.bound(evil.bind("1", true))
			sees(l, "")
			l.bound(db.bind("2", false))
			_, err = l.Sign(public, login("2", "root", public, db))
			w.refused(err, "hop 1")
			w.refused(l.Remove(public), "hop 1")

			l = w.link()
			bad := jump.bind("1", false)
			bad.Signature = bad.Signature[1:]
			if got := l.bind(bad); got != agentproto.MsgExtensionFailure {
				t.Fatalf("bind answered %d", got)
			}
			sees(l, "")
			_, err = l.Sign(public, login("1", "me", public, nil))
			w.refused(err, "all refused")
		})
	}
}

func TestDestinationByHostCertificate(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	public := signerOf(t, key).PublicKey()
	ca := signerOf(t, newKey(t))
	d := agentproto.Destination{To: agentproto.Hop{Host: "db", Keys: []agentproto.KeySpec{{Blob: ca.PublicKey().Marshal(), CA: true}}}}
	must(t, w.link().Add(restricted(&key, d)))
	for name, c := range map[string]struct {
		host *host
		want bool
	}{
		"certified":       {newHost(t).certified(ca, nil), true},
		"by another":      {newHost(t).certified(signerOf(t, newKey(t)), nil), false},
		"for another":     {newHost(t).certified(ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"web"} }), false},
		"not certified":   {newHost(t), false},
		"expired":         {newHost(t).certified(ca, func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Unix()) - 1 }), false},
		"for a user":      {newHost(t).certified(ca, func(c *ssh.Certificate) { c.CertType = ssh.UserCert }), false},
		"authority's key": {&host{t: t, signer: ca}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := w.link()
			l.bound(c.host.bind("1", false))
			_, err := l.Sign(public, login("1", "root", public, c.host))
			if (err == nil) != c.want {
				t.Fatalf("got %v: %s", err, w.refusals.last())
			}
		})
	}
}

// A client that can't see a key can't change its constraints by adding it again.
func TestHiddenKeysAreNotReplaced(t *testing.T) {
	w := newWorld(t, nil)
	key, jump, evil := newKey(t), newHost(t), newHost(t)
	must(t, w.link().Add(restricted(&key, direct(jump))))
	l := w.link()
	l.bound(evil.bind("1", true))
	w.refused(l.Add(agent.AddedKey{PrivateKey: &key, Comment: "free"}), "hop 1")
	if got := w.comments(w.link()); got != "limited" || w.keeper.held() != 1 {
		t.Fatalf("listed %q, keeper has %d", got, w.keeper.held())
	}
}

func TestConstraintsNotUnderstoodAddNothing(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	future := restricted(&key, direct(newHost(t)))
	future.ConstraintExtensions[0].ExtensionName = "restrict-destination-v01@openssh.com"
	w.refused(w.link().Add(future), "not supported")
	odd := &host{t: t, cert: wire.AppendString(nil, "ssh-future")}
	w.refused(w.link().Add(restricted(&key, direct(odd))), "unknown key type")
	if got := w.comments(w.link()); got != "" || w.keeper.held() != 0 {
		t.Fatalf("listed %q, keeper has %d", got, w.keeper.held())
	}
}
