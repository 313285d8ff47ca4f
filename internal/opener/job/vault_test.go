package job_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/backend"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keyfile"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/vaultfile"
)

func TestANewVaultOpensWithBothFactors(t *testing.T) {
	h := newHome(t)
	c := h.founded()
	members, err := keyring.ParseMembers(c.Keyring.Members, c.Vault)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := vaultfile.Parse(c.Header, c.Vault); err != nil || len(f.Lines()) != 0 {
		t.Fatalf("vault file's header %q: %v", c.Header, err)
	}
	me, ok := members.Identity(c.Identity)
	if !ok || me.Role != keyring.Owner || len(members.Identities()) != 1 {
		t.Fatalf("members are %v", members.Identities())
	}
	for name, pass := range map[string]string{"as given": passphrase, "with a line end": passphrase + "\n", "with CR LF": passphrase + "\r\n"} {
		u, got, err := h.unlock(pass)
		if err != nil || got.err != nil {
			t.Fatalf("%s: %v, keeper: %v", name, err, got.err)
		}
		if u.Identity != c.Identity || got.identity != c.Identity || publicOf(t, c.Identity, got.secret) != me.Public {
			t.Fatalf("%s: the keeper got something else", name)
		}
		if !bytes.Equal(u.Keyring.Members, c.Keyring.Members) || !bytes.Equal(u.Keyring.Deks, c.Keyring.Deks) {
			t.Fatalf("%s: another keyring than what is stored", name)
		}
	}
	h.place.Identity = id.Identity{} // a device that lost its state: there is only one identity
	if _, got, err := h.unlock(passphrase); err != nil || got.identity != c.Identity {
		t.Fatal(err, got.err)
	}
}

// TestAConsentTakesBothFactors: it is the identity's, to what was asked, and to nothing else.
// With Kept it opens the keyring that the device keeps, whatever the backend has.
func TestAConsentTakesBothFactors(t *testing.T) {
	h := newHome(t)
	created := h.founded()
	r := h.ring()
	change, other := id.HashOf([]byte("a change")), id.HashOf([]byte("another"))
	consent := func(pass string, kept bool) (*opener.Consented, error) {
		c, err := opener.At(exe(t)).Start(t.Context(), h.place.Vault, input(t, pass))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		job := &opener.Consent{Place: h.place, Passphrase: 1, Change: change, Kept: kept}
		return opener.Do(t.Context(), c, job, opener.Seen{Kept: created.Keyring}, nil)
	}
	_, err := consent("guess", false)
	wantKind(t, err, opener.WrongPassphrase)
	h.replace(backend.Members, []byte("what somebody put in place"))
	_, err = consent("guess", true)
	wantKind(t, err, opener.WrongPassphrase)
	given, err := consent(passphrase, true)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Consented(change, given.Consent) || r.Consented(other, given.Consent) {
		t.Error("the consent isn't one to the change alone")
	}
}

func TestPassphrasesAreNormalised(t *testing.T) {
	h := newHome(t)
	c, err := h.create("Käse Å 🔑") // composed
	if err == nil {
		err = h.found(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.place.Vault = c.Vault
	if _, _, err := h.unlock("Ka\u0308se A\u030a 🔑"); err != nil {
		t.Fatalf("decomposed: %v", err)
	}
}

// TestNeitherFactorAloneOpensAVault is promise 1: if any part is missing or replaced,
// the keeper gets nothing.
func TestNeitherFactorAloneOpensAVault(t *testing.T) {
	base, other := newHome(t), newHome(t)
	base.founded()
	theirs := other.founded()
	for _, tt := range []struct {
		name  string
		spoil func(h *home)
		pass  string
		want  []opener.Kind
	}{
		{"another passphrase", func(*home) {}, "another one", []opener.Kind{opener.WrongPassphrase}},
		{"a passphrase that differs at its end", func(*home) {}, passphrase + " ", []opener.Kind{opener.WrongPassphrase}},
		{"no passphrase", func(*home) {}, "\n", []opener.Kind{opener.BadInput}},
		{"a passphrase too long", func(*home) {}, strings.Repeat("x", 5000), []opener.Kind{opener.BadInput}},
		{"device key deleted", func(h *home) {
			if err := os.RemoveAll(h.place.DeviceDir); err != nil {
				t.Fatal(err)
			}
		}, passphrase, []opener.Kind{opener.Misconfigured}},
		{"device key of another device", func(h *home) { h.place.DeviceDir = other.place.DeviceDir }, passphrase, []opener.Kind{opener.Misconfigured}},
		{"device key cut short", func(h *home) {
			files, _ := filepath.Glob(filepath.Join(h.place.DeviceDir, "*"))
			for _, f := range files {
				if err := os.Truncate(f, 10); err != nil {
					t.Fatal(err)
				}
			}
		}, passphrase, []opener.Kind{opener.Misconfigured}},
		{"keyring deleted", func(h *home) {
			if err := os.RemoveAll(h.place.KeyringDir); err != nil {
				t.Fatal(err)
			}
		}, passphrase, []opener.Kind{opener.Missing}},
		{"another vault's keyring", func(h *home) {
			h.replace(backend.Members, theirs.Keyring.Members)
			h.replace(backend.Deks, theirs.Keyring.Deks)
		}, passphrase, []opener.Kind{opener.Damaged}},
		{"another vault's file and keyring, same passphrase", func(h *home) {
			h.replace(backend.Members, theirs.Keyring.Members)
			h.replace(backend.Deks, theirs.Keyring.Deks)
			h.place.Vault, h.place.Identity = theirs.Vault, theirs.Identity
		}, passphrase, []opener.Kind{opener.Misconfigured}},
		{"an identity that never was a member", func(h *home) { h.place.Identity = id.NewIdentity() }, passphrase, []opener.Kind{opener.NotAdmitted}},
		{"a backend nobody knows", func(h *home) { h.place.Backend = "ftp://x" }, passphrase, []opener.Kind{opener.Misconfigured}},
		{"a master nobody knows", func(h *home) { h.place.Master = "tpm:" }, passphrase, []opener.Kind{opener.Misconfigured}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := base.copied(t)
			tt.spoil(h)
			u, got, err := h.unlock(tt.pass)
			wantKind(t, err, tt.want...)
			var e *opener.Error
			if !errors.As(err, &e) || e.Next == "" && e.Kind != opener.Missing { // the front has a better text
				t.Fatalf("error says nothing of what to do next: %v", err)
			}
			if u != nil || got.err == nil || len(got.secret) > 0 {
				t.Fatalf("the keeper got %d bytes", len(got.secret))
			}
		})
	}
}

// TestADamagedKeyringIsNamed: which object, which line, and the failed check.
func TestADamagedKeyringIsNamed(t *testing.T) {
	h := newHome(t)
	c := h.founded()
	good := c.Keyring.Members
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"a record's signature", flipAfter(good, `"sig":"`), "members line 2: signature"},
		{"KDF parameters", bytes.Replace(good, []byte(`"memory":65536`), []byte(`"memory":65537`), 1), "members line 6: blocks"},
		{"the last byte is missing", good[:len(good)-1], "members line"},
		{"nothing in it", []byte("\n"), "members line 1"},
		{"a newer version", bytes.Replace(good, []byte(`"version":1`), []byte(`"version":9`), 1), "members line 1: version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.replace(backend.Members, tt.data)
			_, got, err := h.unlock(passphrase)
			wantKind(t, err, opener.Damaged)
			if !strings.Contains(err.Error(), tt.want) || got.err == nil {
				t.Fatalf("says %q, want %q", err, tt.want)
			}
			if !bytes.Equal(h.object(backend.Members), tt.data) {
				t.Fatal("what is stored was changed")
			}
		})
	}
	h.replace(backend.Members, good)
	if _, _, err := h.unlock(passphrase); err != nil {
		t.Fatalf("the good one again: %v", err)
	}
}

func flipAfter(data []byte, mark string) []byte {
	out := bytes.Clone(data)
	i := bytes.Index(out, []byte(mark)) + len(mark)
	if out[i] == 'A' {
		out[i] = 'B'
	} else {
		out[i] = 'A'
	}
	return out
}

func TestCreateOverwritesNothing(t *testing.T) {
	h := newHome(t)
	first := h.founded()
	_, err := h.create("another one")
	wantKind(t, err, opener.Exists)
	other := newHome(t)
	second := other.founded()
	if err := h.found(second); err == nil {
		t.Fatal("stored a keyring over another one")
	}
	if !bytes.Equal(h.object(backend.Members), first.Keyring.Members) || !bytes.Equal(h.object(backend.Deks), first.Keyring.Deks) {
		t.Fatal("what was stored has changed")
	}
	if _, _, err := h.unlock(passphrase); err != nil {
		t.Fatal(err)
	}
}

// TestAnInterruptedCreationStartsOver after each possible interruption.
func TestAnInterruptedCreationStartsOver(t *testing.T) {
	for name, left := range map[string]func(h *home, c *opener.Created){
		"before anything was stored": func(*home, *opener.Created) {},
		"between deks and members":   func(h *home, c *opener.Created) { h.replace(backend.Deks, c.Keyring.Deks) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			c, err := h.create("the first one")
			if err != nil {
				t.Fatal(err)
			}
			left(h, c)
			again := h.founded()
			if again.Vault == c.Vault {
				t.Fatal("the same vault twice")
			}
			if _, _, err := h.unlock(passphrase); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCreateRefusesWeakParameters(t *testing.T) {
	h := newHome(t)
	for name, req := range map[string]opener.Create{
		"memory":   {MemoryKiB: keyring.MinKDFMemory - 1},
		"too much": {MemoryKiB: keyring.MaxKDFMemory + 1},
		"negative": {MemoryKiB: -1},
		"wraps":    {MemoryKiB: 1<<32 + keyring.MinKDFMemory},
		"passes":   {Time: 1},
		"lanes":    {Lanes: 300},
	} {
		t.Run(name, func(t *testing.T) {
			req.Place, req.Passphrase = h.place, 1
			_, err := ask(h, &req, input(t, passphrase))
			wantKind(t, err, opener.BadInput)
		})
	}
}

func TestAKeeperThatRefusesTheIdentity(t *testing.T) {
	h := newHome(t)
	h.founded()
	unlock := &opener.Unlock{Place: h.place, Passphrase: 1, Keeper: 2}
	end, _ := h.identityKeeper(errors.New("halves differ"))
	_, err := ask(h, unlock, input(t, passphrase), end)
	wantKind(t, err, opener.KeeperRefused)
	if !strings.Contains(err.Error(), "halves differ") {
		t.Fatalf("says %q", err)
	}
	t.Run("another vault's", func(t *testing.T) {
		other := *h
		other.place.Vault = id.Vault{1}
		end, got := other.identityKeeper(nil)
		_, err := ask(h, unlock, input(t, passphrase), end)
		wantKind(t, err, opener.KeeperRefused)
		if r := <-got; !errors.Is(r.err, ipc.ErrMismatch) || len(r.secret) > 0 {
			t.Fatalf("keeper got %d bytes, %v", len(r.secret), r.err)
		}
	})
	t.Run("none was handed over", func(t *testing.T) {
		_, err := ask(h, unlock, input(t, passphrase))
		if err == nil {
			t.Fatal("unlocked")
		}
	})
}

func TestFetchAndPut(t *testing.T) {
	h := newHome(t)
	c := h.founded()
	fetch := func(members, deks backend.Version) *backend.Keyring {
		t.Helper()
		r, err := ask(h, &opener.Fetch{Place: h.place, HaveMembers: members, HaveDeks: deks})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	f := fetch("", "")
	if !bytes.Equal(f.Members, c.Keyring.Members) || !bytes.Equal(f.Deks, c.Keyring.Deks) {
		t.Fatal("not what was stored")
	}
	if same := fetch(f.MembersVersion, f.DeksVersion); same.Members != nil || same.Deks != nil || same.DeksVersion != f.DeksVersion {
		t.Fatal("fetched again what the front has")
	}
	put := func(expect backend.Version, data string) (*opener.Stored, error) {
		return ask(h, &opener.Put{Place: h.place, Object: backend.Deks, Data: []byte(data), Expect: expect})
	}
	stored, err := put(f.DeksVersion, "next")
	if err != nil {
		t.Fatal(err)
	}
	_, err = put(f.DeksVersion, "rival")
	wantKind(t, err, opener.Conflict)
	next := fetch(f.MembersVersion, f.DeksVersion)
	if next.Members != nil || string(next.Deks) != "next" || next.DeksVersion != stored.Version {
		t.Fatalf("fetched %q at %q", next.Deks, next.DeksVersion)
	}
	empty := newHome(t)
	_, err = ask(empty, &opener.Fetch{Place: empty.place})
	wantKind(t, err, opener.Missing)
}

// TestRemovalForgetsEarlierKeyrings is promise 6 for a backend that keeps replaced
// objects: once an item is removed, the backend has no copy of its DEK.
func TestRemovalForgetsEarlierKeyrings(t *testing.T) {
	h := newHome(t)
	h.founded()
	line, err := vaultfile.ParseLine(h.item(newKey(t, keyfile.KindEd25519, 0)))
	if err != nil {
		t.Fatal(err)
	}
	earlier := func() []string {
		files, err := filepath.Glob(filepath.Join(h.place.KeyringDir, ".history", "deks.*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	put := func(u keyring.Update) {
		t.Helper()
		_, version, err := h.store.Get(t.Context(), backend.Deks, "")
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := h.ring().Apply(u, 1_700_000_001)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ask(h, &opener.Put{
			Place: h.place, Object: backend.Deks, Data: object, Expect: version, DropPrevious: len(u.Remove) > 0,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(keyring.Update{})
	if len(earlier()) == 0 {
		t.Fatal("no earlier keyring is kept: there is nothing to forget")
	}
	put(keyring.Update{Remove: []id.Item{line.Item}})
	if left := earlier(); len(left) > 0 {
		t.Errorf("kept after a removal: %q", left)
	}
	put(keyring.Update{})
	if len(earlier()) != 1 {
		t.Errorf("the keyring after a removal isn't kept: %q", earlier())
	}
}
