package sshagent

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/agentproto"
	"vigil/internal/policy"
	"vigil/internal/wire"
)

func TestVaultKeys(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Vaults = []string{"main", "work"} })
	c := w.client()
	shared, added := newKey(t), newKey(t)
	w.SetVault("work", []VaultKey{w.vaultKey("w1", newKey(t))})
	w.SetVault("main", []VaultKey{w.vaultKey("m1", newKey(t)), w.vaultKey("m2", shared)})
	must(t, c.Add(agent.AddedKey{PrivateKey: &added, Comment: "added"}))
	if got := w.comments(c); got != "added m1 m2 w1" {
		t.Fatalf("listed %q", got)
	}
	public := signerOf(t, shared).PublicKey()
	_, err := c.Sign(public, []byte("data"))
	must(t, err)

	w.refused(c.Remove(public), "vault main")
	must(t, c.Add(agent.AddedKey{PrivateKey: &shared, Comment: "copy"}))
	if got := w.comments(c); got != "added copy m1 w1" {
		t.Fatalf("an added copy shadows: %q", got)
	}
	must(t, c.Remove(public))
	must(t, c.RemoveAll())
	if got := w.comments(c); got != "m1 m2 w1" {
		t.Fatalf("ssh-add -D touches no vault: %q", got)
	}
	w.RemoveVault("main")
	if got := w.comments(c); got != "w1" {
		t.Fatalf("listed %q", got)
	}
}

func TestLockedVaultListsAndRefuses(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	k := w.vaultKey("m1", newKey(t))
	k.Signer = nil
	damaged := w.vaultKey("m2", newKey(t))
	damaged.Signer, damaged.Refusal = nil, "item m2 is damaged"
	w.SetVault("main", []VaultKey{k, damaged})
	keys, err := c.List()
	must(t, err)
	_, err = c.Sign(keys[0], []byte("data"))
	w.refused(err, "vault main is locked")
	_, err = c.Sign(keys[1], []byte("data"))
	w.refused(err, "item m2 is damaged")
}

// unlockerFunc is an [Unlocker].
type unlockerFunc func(context.Context, string, Question) error

func (f unlockerFunc) Unlock(ctx context.Context, vault string, q Question) error {
	return f(ctx, vault, q)
}

func TestLockedVaultUnlocksOnUse(t *testing.T) {
	var w *world
	key := newKey(t)
	answer := fmt.Errorf("nobody answered")
	w = newWorld(t, func(o *Options) {
		o.Unlocker = unlockerFunc(func(_ context.Context, vault string, q Question) error {
			if vault != "main" || q.Comment != "m1" || q.Peer.Program != "/usr/bin/ssh" {
				t.Errorf("asked to unlock %s for %+v", vault, q)
			}
			if answer == nil {
				w.SetVault("main", []VaultKey{w.vaultKey("m1", key)})
			}
			return answer
		})
	})
	c := w.client()
	locked := w.vaultKey("m1", key)
	locked.Signer = nil
	w.SetVault("main", []VaultKey{locked})
	public := signerOf(t, key).PublicKey()
	_, err := c.Sign(public, []byte("data"))
	w.refused(err, "nobody answered")
	_, err = c.Sign(public, make([]byte, maxAskedData+1))
	w.refused(err, "nobody is asked for a request of 16385 bytes")
	answer = nil
	sig, err := c.Sign(public, []byte("data"))
	must(t, err)
	must(t, public.Verify([]byte("data"), sig))
}

// A key's restrictions may only be known once its vault is unlocked.
func TestLimitsFoundByUnlockingHold(t *testing.T) {
	var w *world
	key, h := newKey(t), newHost(t)
	w = newWorld(t, func(o *Options) {
		o.Unlocker = unlockerFunc(func(context.Context, string, Question) error {
			k := w.vaultKey("m1", key)
			k.To = []agentproto.Destination{direct(h)}
			w.SetVault("main", []VaultKey{k})
			return nil
		})
	})
	locked := w.vaultKey("m1", key)
	locked.Signer = nil
	w.SetVault("main", []VaultKey{locked})
	_, err := w.client().Sign(signerOf(t, key).PublicKey(), []byte("data"))
	w.refused(err, "didn't say which session")
}

func TestVaultCertificateIsASecondIdentity(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	key := newKey(t)
	k := w.vaultKey("m1", key)
	cert := certify(t, signerOf(t, key).PublicKey(), func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity })
	k.Certificate = cert.Marshal()
	w.SetVault("main", []VaultKey{k})
	keys, err := c.List()
	must(t, err)
	if len(keys) != 2 || keys[0].Type() != ssh.KeyAlgoED25519 || keys[1].Type() != ssh.CertAlgoED25519v01 {
		t.Fatalf("listed %v", keys)
	}
	sig, err := c.Sign(keys[1], []byte("data"))
	must(t, err)
	must(t, cert.Verify([]byte("data"), sig))
	if infos := w.Keys(); infos[0].Fingerprint != infos[1].Fingerprint || infos[0].Fingerprint != ssh.FingerprintSHA256(cert.Key) {
		t.Fatalf("fingerprints %s and %s", infos[0].Fingerprint, infos[1].Fingerprint)
	}
}

func TestOddKeysDontBreakAListing(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client()
	odd := VaultKey{Blob: []byte("\x00\x00\x00\x0assh-future"), Comment: "odd"}
	w.SetVault("main", []VaultKey{odd, {Blob: nil, Comment: "none"}, w.vaultKey("m1", newKey(t))})
	if got := w.comments(c); got != "m1 odd" {
		t.Fatalf("listed %q", got)
	}
}

// Several clients stop at the first key whose type they don't know, and use none of
// those behind it.
func TestKeysThatClientsMayNotKnowAreListedLast(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Vaults = []string{"main", "work"} })
	c := w.client()
	unknown := func(keyType string) VaultKey {
		return VaultKey{Blob: append(wire.AppendString(nil, keyType), "\x00\x00\x00\x01x"...), Comment: keyType}
	}
	w.SetVault("main", []VaultKey{
		unknown("ssh-mldsa44-ed25519"), w.vaultKey("m1", newKey(t)), unknown("ssh-future"),
		unknown("ssh-mldsa44-ed25519@openssh.com"), w.vaultKey("m2", newKey(t)),
	})
	w.SetVault("work", []VaultKey{unknown("ssh-mldsa44-ed25519-cert"), w.vaultKey("w1", newKey(t))})
	composite := newIdentity(append(wire.AppendString(nil, "ssh-mldsa44-ed25519"), "\x00\x00\x00\x01y"...))
	composite.comment = "composite"
	_, err := w.replaceAdded(composite, &policy.Path{}, 0)
	must(t, err)
	added := newKey(t)
	must(t, c.Add(agent.AddedKey{PrivateKey: &added, Comment: "added"}))
	const want = "added m1 m2 w1 composite ssh-mldsa44-ed25519 ssh-future ssh-mldsa44-ed25519@openssh.com ssh-mldsa44-ed25519-cert"
	if got := w.comments(c); got != want {
		t.Fatalf("listed %q, want %q", got, want)
	}
}

// RSA without a flag is SHA-1, which each key must allow. Nobody is asked about it
// otherwise.
func TestSHA1MustBeAllowed(t *testing.T) {
	asked := 0
	w := newWorld(t, func(o *Options) {
		o.Prompter = prompterFunc(func(context.Context, Question) error { asked++; return nil })
	})
	c := w.client()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	k := w.vaultKey("old", key)
	k.Confirm = true
	public := signerOf(t, key).PublicKey()
	w.SetVault("main", []VaultKey{k})
	_, err = c.Sign(public, []byte("data"))
	w.refused(err, "SHA-1")
	if asked != 0 {
		t.Fatal("somebody was asked")
	}
	k.AllowSHA1 = true
	w.SetVault("main", []VaultKey{k})
	for flags, algorithm := range map[agent.SignatureFlags]string{
		0: ssh.KeyAlgoRSA, agent.SignatureFlagRsaSha256: ssh.KeyAlgoRSASHA256, agent.SignatureFlagRsaSha512: ssh.KeyAlgoRSASHA512,
	} {
		sig, err := c.SignWithFlags(public, []byte("data"), flags)
		must(t, err)
		if sig.Format != algorithm {
			t.Errorf("flags %d: %s", flags, sig.Format)
		}
		must(t, public.Verify([]byte("data"), sig))
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
	// The flag between agent and keeper isn't one of the protocol.
	k.AllowSHA1 = false
	w.SetVault("main", []VaultKey{k})
	_, err = c.SignWithFlags(public, []byte("data"), agentproto.FlagRSASHA1)
	w.refused(err, "flags")
}

func TestListingOfAThousandKeysIsMadeOnce(t *testing.T) {
	w := newWorld(t, nil)
	var keys []VaultKey
	for i := range 3000 {
		keys = append(keys, VaultKey{Blob: fmt.Appendf([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), "%032d", i)})
	}
	w.SetVault("main", keys)
	if got, err := w.client().List(); err != nil || len(got) != agentproto.MaxIdentities {
		t.Fatalf("listed %d keys, %v", len(got), err)
	}
	s := &session{agent: w.Agent}
	if n := testing.AllocsPerRun(10, func() { s.list(nil, nil) }); n != 0 {
		t.Fatalf("%v allocations a listing", n)
	}
}
