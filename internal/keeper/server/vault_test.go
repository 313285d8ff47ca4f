package server

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"vigil/internal/handover"
	"vigil/internal/id"
	"vigil/internal/ipc"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/testing/ringtest"
	"vigil/internal/unixsock"
	"vigil/internal/vaultfile"
)

// world is a vault with one owner and an item for each of keys.
type world struct {
	*ringtest.World
	keys  []sample
	items []ringtest.Written
}

func newWorld(t testing.TB, keys ...sample) *world {
	t.Helper()
	w := &world{World: ringtest.New(t), keys: keys}
	for _, k := range keys {
		w.items = append(w.items, w.Seal(id.NewItem(), k.name, k.public, k.encoding))
	}
	w.Push(w.items...)
	return w
}

// unlocked starts a keeper and gives it a person's private keys.
func unlocked(t testing.TB, w *world, p *ringtest.Person) *keeper.Client {
	t.Helper()
	vault := w.Vault()
	c := start(t, vault)
	if err := handIdentity(t, c, vault, p); err != nil {
		t.Fatal(err)
	}
	return c
}

// opened is unlocked with the vault loaded.
func opened(t testing.TB, w *world) (*keeper.Client, *keeper.Loaded) {
	t.Helper()
	c := unlocked(t, w, w.Owner)
	return c, load(t, c, w)
}

// betweenPair runs opener at one end of a socketpair and attach at the other.
func betweenPair(t testing.TB, opener func(io.ReadWriter) error, attach func(end *os.File) error) (openerErr, attachErr error) {
	t.Helper()
	a, b, err := unixsock.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(a), "opener"), os.NewFile(uintptr(b), "keeper")
	done := make(chan error, 1)
	go func() {
		done <- opener(ours)
		_ = ours.Close()
	}()
	attachErr = attach(theirs)
	_ = theirs.Close()
	return <-done, attachErr
}

func handIdentity(t testing.TB, c *keeper.Client, vault id.Vault, p *ringtest.Person) error {
	t.Helper()
	openerErr, err := betweenPair(t,
		func(rw io.ReadWriter) error { return handover.Identity(rw, vault, p.Identity.ID, p.Seeds) },
		func(end *os.File) error {
			got, err := c.AttachIdentity(t.Context(), end)
			if err == nil && got != p.Identity.ID {
				t.Errorf("the keeper has identity %v, want %v", got, p.Identity.ID)
			}
			return err
		})
	return errors.Join(err, openerErr)
}

func handKey(t testing.TB, c *keeper.Client, vault id.Vault, encoding []byte) (d keeper.Draft, openerErr, err error) {
	t.Helper()
	openerErr, err = betweenPair(t,
		func(rw io.ReadWriter) error { return handover.Key(rw, vault, encoding) },
		func(end *os.File) (err error) {
			d, err = c.AttachKey(t.Context(), end)
			return err
		})
	return d, openerErr, err
}

func load(t testing.TB, c *keeper.Client, w *world) *keeper.Loaded {
	t.Helper()
	l, err := loadObjects(t, c, keyring.Pins{}, w.Objects())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func loadObjects(t testing.TB, c *keeper.Client, pins keyring.Pins, o ringtest.Objects) (*keeper.Loaded, error) {
	t.Helper()
	if err := c.GiveFile(t.Context(), o.File); err != nil {
		return nil, err
	}
	return c.Load(t.Context(), keeper.Known{Known: keyring.Known{Pins: pins}}, o.Members, o.Deks, keyring.Update{})
}

// number returns the key number of a revision.
func number(t testing.TB, l *keeper.Loaded, revision id.Revision) uint64 {
	t.Helper()
	for _, it := range l.Items {
		if it.Revision == revision && it.Problem == "" {
			return it.Key
		}
	}
	t.Fatalf("revision %v isn't among the %d items that were loaded", revision, len(l.Items))
	return 0
}

// signsWith checks that a key signs, as the key it should be.
func signsWith(t testing.TB, c *keeper.Client, key uint64, s sample) {
	t.Helper()
	sig, err := c.Sign(t.Context(), key, []byte("data"), s.flags[0], nil)
	if err == nil {
		err = verify(s.public, []byte("data"), sig)
	}
	if err != nil {
		t.Fatalf("sign with %s: %v", s.name, err)
	}
}

func TestVaultKeysOfEveryTypeSign(t *testing.T) {
	w := newWorld(t, samples(t)...)
	c, l := opened(t, w)
	if len(l.Items) != len(w.keys) || l.Pins.Deks.KEK != 1 || l.Pins != w.Pins() {
		t.Fatalf("loaded %d items, KEK %d", len(l.Items), l.Pins.Deks.KEK)
	}
	stats := func() keeper.Stats {
		t.Helper()
		s, err := c.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := stats(); s.Keys != len(w.keys) || s.Open != 0 {
		t.Fatalf("%d keys, %d of them open before their first use", s.Keys, s.Open)
	}
	for i, s := range w.keys {
		signsWith(t, c, number(t, l, w.items[i].Line.Revision), s)
		if got := stats().Open; got != i+1 {
			t.Fatalf("%d keys are open after %d were used", got, i+1)
		}
	}
	for _, it := range l.Items {
		if m, err := vaultfile.ParseMeta(it.Meta); err != nil || m.Created != ringtest.Now {
			t.Fatalf("metadata %q: %v", it.Meta, err)
		}
	}
}

func TestEveryMemberLoadsTheVault(t *testing.T) {
	w := newWorld(t, ed25519Key(t))
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	c := unlocked(t, w, member)
	signsWith(t, c, number(t, load(t, c, w), w.items[0].Line.Revision), w.keys[0])
}

func TestHandoverThatIsRefused(t *testing.T) {
	w := newWorld(t, ed25519Key(t))
	vault := w.Vault()
	t.Run("identity of another vault", func(t *testing.T) {
		c := start(t, vault)
		if err := handIdentity(t, c, id.Vault{1}, w.Owner); !errors.Is(err, ipc.ErrMismatch) {
			t.Fatalf("got %v", err)
		}
		_, err := loadObjects(t, c, keyring.Pins{}, w.Objects())
		wantErr(t, err, keeper.ErrRefused)
	})
	t.Run("an opener that ends in the middle", func(t *testing.T) {
		c := start(t, vault)
		_, err := betweenPair(t,
			func(rw io.ReadWriter) error { _, err := rw.Write([]byte{0, 0, 0}); return err },
			func(end *os.File) error { _, err := c.AttachIdentity(t.Context(), end); return err })
		if err == nil || errors.Is(err, keeper.ErrGone) {
			t.Fatalf("got %v", err)
		}
		if err := handIdentity(t, c, vault, w.Owner); err != nil {
			t.Fatalf("the next one: %v", err)
		}
	})
	t.Run("an identity that isn't a member", func(t *testing.T) {
		c := unlocked(t, w, ringtest.NewPerson(t, keyring.Owner))
		_, err := loadObjects(t, c, keyring.Pins{}, w.Objects())
		wantErr(t, err, keeper.ErrNoIdentity)
	})
	t.Run("a member's identity with other keys", func(t *testing.T) {
		other := ringtest.NewPerson(t, keyring.Owner)
		other.Identity.ID = w.Owner.Identity.ID
		c := unlocked(t, w, other)
		_, err := loadObjects(t, c, keyring.Pins{}, w.Objects())
		wantErr(t, err, keeper.ErrNoIdentity)
	})
	t.Run("a key that isn't one", func(t *testing.T) {
		c, _ := opened(t, w)
		s := w.keys[0]
		for name, encoding := range map[string][]byte{
			"nothing": nil, "cut": s.encoding[:40], "bytes after it": append(bytes.Clone(s.encoding), 0),
		} {
			_, openerErr, err := handKey(t, c, vault, encoding)
			if err == nil || openerErr == nil {
				t.Fatalf("%s: front hears %v, opener %v", name, err, openerErr)
			}
		}
	})
}

// TestSealedKeysComeBack: a generated or imported key is readable on every device.
func TestSealedKeysComeBack(t *testing.T) {
	w := newWorld(t)
	c, _ := opened(t, w)
	s := generate(t, "ecdsa", 384)
	d, openerErr, err := handKey(t, c, w.Vault(), s.encoding)
	if err := errors.Join(openerErr, err); err != nil {
		t.Fatal(err)
	}
	if d.Type != s.name || !bytes.Equal(d.Public, s.public) {
		t.Fatalf("draft is %+v", d)
	}
	item := id.NewItem()
	meta := must((&vaultfile.Meta{Name: "work", Public: s.public}).Encode())(t)
	sealed, err := c.SealDraft(t.Context(), d.Number, item, meta)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SealDraft(t.Context(), d.Number, item, meta); !errors.Is(err, keeper.ErrNoKey) {
		t.Fatalf("a draft was sealed twice: %v", err)
	}
	push(t, c, w, sealed)
	l := load(t, c, w)
	revision := sealed.DEK.Revision
	signsWith(t, c, number(t, l, revision), s)

	// Another device has only what is stored.
	other, l := opened(t, w)
	signsWith(t, other, number(t, l, revision), s)

	edited, err := c.SealEdited(t.Context(), keeper.Edit(revision, item, []id.Revision{revision}, must((&vaultfile.Meta{Name: "home", Public: s.public}).Encode())(t)))
	if err != nil {
		t.Fatal(err)
	}
	push(t, c, w, edited)
	l = load(t, other, w)
	signsWith(t, other, number(t, l, edited.DEK.Revision), s)
	if m, err := vaultfile.ParseMeta(l.Items[0].Meta); len(l.Items) != 1 || err != nil || m.Name != "home" {
		t.Fatalf("%d items, %+v, %v", len(l.Items), m, err)
	}
}

// push stores a sealed revision, as the front does.
func push(t testing.TB, c *keeper.Client, w *world, s keeper.Sealed) {
	t.Helper()
	object, deleted, err := c.Deks(t.Context(), keyring.Update{Add: []keyring.DEK{s.DEK}}, time.Unix(ringtest.Now, 0))
	if err != nil || len(deleted) > 0 {
		t.Fatalf("%v, %d deleted elsewhere", err, len(deleted))
	}
	w.Deks = must(keyring.ParseDeks(object, w.Vault()))(t)
	if err := w.Deks.Verify(w.Members, w.MAC); err != nil {
		t.Fatal(err)
	}
	w.File = w.File.Add(must(vaultfile.ParseLine(s.Line))(t))
}

func TestRemovedItemsStopSigning(t *testing.T) {
	w := newWorld(t, ed25519Key(t), ed25519Key(t))
	c, l := opened(t, w)
	gone, stays := number(t, l, w.items[0].Line.Revision), number(t, l, w.items[1].Line.Revision)
	signsWith(t, c, gone, w.keys[0])
	item := w.items[0].Line.Item
	consent := must(w.Owner.Halves.Consent(w.Vault(), keeper.Removal(item)))(t)
	object, _, err := c.Deks(t.Context(), keyring.Update{Remove: []id.Item{item}, Consents: [][]byte{consent}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o := w.Objects()
	o.Deks = object
	if l, err = loadObjects(t, c, keyring.Pins{}, o); err != nil || len(l.Items) != 1 {
		t.Fatalf("%d items, %v", len(l.Items), err)
	}
	wantErr(t, sign(t, c, gone), keeper.ErrNoKey)
	if got := number(t, l, w.items[1].Line.Revision); got != stays {
		t.Fatalf("the other key's number changed from %d to %d", stays, got)
	}
	signsWith(t, c, stays, w.keys[1])
	// A removed item stays removed.
	_, deleted, err := c.Deks(t.Context(), keyring.Update{Add: []keyring.DEK{w.items[0].DEK}}, time.Now())
	if err != nil || len(deleted) != 1 {
		t.Fatalf("%d deleted elsewhere, %v", len(deleted), err)
	}
}

func TestDrafts(t *testing.T) {
	w := newWorld(t)
	c, _ := opened(t, w)
	s := ed25519Key(t)
	var drafts []keeper.Draft
	for range maxDrafts {
		d, openerErr, err := handKey(t, c, w.Vault(), s.encoding)
		if err := errors.Join(openerErr, err); err != nil {
			t.Fatal(err)
		}
		drafts = append(drafts, d)
	}
	_, openerErr, err := handKey(t, c, w.Vault(), s.encoding)
	wantErr(t, err, keeper.ErrRefused)
	if openerErr == nil {
		t.Fatal("the opener wasn't told")
	}
	for _, d := range drafts {
		if err := c.DropDraft(t.Context(), d.Number); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, c.DropDraft(t.Context(), drafts[0].Number), keeper.ErrNoKey)
	if _, openerErr, err = handKey(t, c, w.Vault(), s.encoding); errors.Join(openerErr, err) != nil {
		t.Fatal(openerErr, err)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t, ed25519Key(t))
	c, l := opened(t, w)
	key := number(t, l, w.items[0].Line.Revision)
	o := w.Objects()
	for _, step := range []keeper.RotationStep{keeper.StepNewKEK, keeper.StepRewrap, keeper.StepRetire} {
		object, err := c.Rotation(t.Context(), step)
		if err != nil || object == nil {
			t.Fatalf("step %d: %d bytes, %v", step, len(object), err)
		}
		if step == keeper.StepRewrap {
			o.Deks = object
		} else {
			o.Members = object
		}
		if l, err = loadObjects(t, c, keyring.Pins{}, o); err != nil {
			t.Fatalf("after step %d: %v", step, err)
		}
		signsWith(t, c, key, w.keys[0])
	}
	if l.Pins.Deks.KEK != 2 {
		t.Fatalf("KEK %d", l.Pins.Deks.KEK)
	}
	for _, step := range []keeper.RotationStep{keeper.StepRewrap, keeper.StepRetire} {
		if object, err := c.Rotation(t.Context(), step); object != nil || err != nil {
			t.Fatalf("step %d a second time: %d bytes, %v", step, len(object), err)
		}
	}
	_, err := c.Rotation(t.Context(), 99)
	wantErr(t, err, keeper.ErrBadRequest)
	// A key first used after the rotation opens under the new KEK.
	fresh := unlocked(t, w, w.Owner)
	if l, err = loadObjects(t, fresh, keyring.Pins{}, o); err != nil {
		t.Fatal(err)
	}
	signsWith(t, fresh, number(t, l, w.items[0].Line.Revision), w.keys[0])
}

func TestASecondIdentityReplacesTheFirst(t *testing.T) {
	w := newWorld(t, ed25519Key(t))
	member := ringtest.NewPerson(t, keyring.Member)
	w.Admit(member)
	c, l := opened(t, w)
	old := number(t, l, w.items[0].Line.Revision)
	signsWith(t, c, old, w.keys[0])
	if err := handIdentity(t, c, w.Vault(), member); err != nil {
		t.Fatal(err)
	}
	wantErr(t, sign(t, c, old), keeper.ErrNoKey)
	signsWith(t, c, number(t, load(t, c, w), w.items[0].Line.Revision), w.keys[0])
}

// must returns a function that returns v, or fails the test for err.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
