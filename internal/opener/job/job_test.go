package job_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/internal/backend"
	"vigil/internal/backend/file"
	"vigil/internal/envelope"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/handover"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/opener/job"
	"vigil/internal/ring"
	"vigil/internal/unixsock"
	"vigil/internal/vaultfile"
)

// TestMain also runs this binary as an opener.
func TestMain(m *testing.M) {
	if os.Args[0] == "vigil-opener" {
		os.Exit(job.Run(context.Background()))
	}
	os.Exit(m.Run())
}

const passphrase = "correct horse battery staple"

// home is the place of a test's vault: a file backend and a local master.
type home struct {
	t     *testing.T
	place opener.Place
	store *file.Store
}

func newHome(t *testing.T) *home {
	t.Helper()
	return homeIn(t, t.TempDir())
}

// copied returns a second home with the same vault.
func (h *home) copied(t *testing.T) *home {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(h.place.DeviceDir))); err != nil {
		t.Fatal(err)
	}
	c := homeIn(t, dir)
	keys, err := filepath.Glob(filepath.Join(c.place.DeviceDir, "*"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("no device key to copy: %v", err)
	}
	for _, key := range keys {
		if err := os.Chmod(key, 0o600); err != nil { // not preserved by CopyFS
			t.Fatal(err)
		}
	}
	c.place.Vault, c.place.Identity = h.place.Vault, h.place.Identity
	return c
}

func homeIn(t *testing.T, dir string) *home {
	h := &home{t: t, place: opener.Place{
		Name: "default", Backend: "file", KeyringDir: filepath.Join(dir, "keyring"),
		Master: "local", DeviceDir: filepath.Join(dir, "device"), SessionDir: filepath.Join(dir, "sessions"),
	}}
	h.store = file.New(h.place.KeyringDir)
	return h
}

func exe(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ask has an opener do one job.
func ask[R any](h *home, job opener.Job[R], files ...*os.File) (*R, error) {
	h.t.Helper()
	c, err := opener.At(exe(h.t)).Start(h.t.Context(), h.place.Vault, files...)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	result, err := opener.Do(h.t.Context(), c, job, opener.Seen{}, nil)
	if err != nil && (strings.Contains(err.Error(), passphrase) || len(err.Error()) > 500) {
		h.t.Fatalf("the error has the passphrase in it, or too much: %v", err)
	}
	return result, err
}

// input returns a pipe that contains text.
func input(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	go func() {
		_, _ = io.WriteString(w, text)
		_ = w.Close()
	}()
	return r
}

func (h *home) create(pass string) (*opener.Created, error) {
	h.t.Helper()
	// The least cost that is allowed, because tests wait for it.
	return ask(h, &opener.Create{
		Place: h.place, Passphrase: 1, MemoryKiB: keyring.MinKDFMemory, Time: keyring.MinKDFTime, Lanes: 4,
	}, input(h.t, pass))
}

func (h *home) found(c *opener.Created) error {
	h.t.Helper()
	_, err := ask(h, &opener.StoreNew{Place: h.place, Keyring: c.Keyring})
	return err
}

// founded makes a vault and stores its keyring.
func (h *home) founded() *opener.Created {
	h.t.Helper()
	c, err := h.create(passphrase + "\n")
	if err == nil {
		err = h.found(c)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.place.Vault, h.place.Identity = c.Vault, c.Identity
	return c
}

// received is what a keeper received through its socketpair.
type received struct {
	identity id.Identity
	secret   []byte
	err      error
}

// keeperEnd returns the opener's end of a socketpair. receive acts as the keeper at
// the other end.
func (h *home) keeperEnd(receive func(rw io.ReadWriter, slab *guard.Slab) received) (*os.File, <-chan received) {
	h.t.Helper()
	a, b, err := unixsock.SocketPair()
	if err != nil {
		h.t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(a), "opener"), os.NewFile(uintptr(b), "keeper")
	h.t.Cleanup(func() { _, _ = theirs.Close(), ours.Close() })
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = slab.Close() })
	got := make(chan received, 1)
	go func() { got <- receive(ours, slab) }()
	return theirs, got
}

func (h *home) identityKeeper(verdict error) (*os.File, <-chan received) {
	vault := h.place.Vault
	return h.keeperEnd(func(rw io.ReadWriter, slab *guard.Slab) (r received) {
		var halves *guard.Buffer
		if r.identity, halves, r.err = handover.ReceiveIdentity(rw, vault, slab.Alloc); r.err == nil {
			r.secret = bytes.Clone(halves.Bytes())
			r.err = handover.Verdict(rw, verdict)
		}
		return r
	})
}

func (h *home) keyKeeper(verdict error) (*os.File, <-chan received) {
	vault := h.place.Vault
	return h.keeperEnd(func(rw io.ReadWriter, slab *guard.Slab) (r received) {
		var key *guard.Buffer
		if key, r.err = handover.ReceiveKey(rw, vault, slab.Alloc); r.err == nil {
			r.secret = bytes.Clone(key.Bytes())
			r.err = handover.Verdict(rw, verdict)
		}
		return r
	})
}

// unlock returns what the keeper received.
func (h *home) unlock(pass string) (*opener.Unlocked, received, error) {
	h.t.Helper()
	end, got := h.identityKeeper(nil)
	reply, err := ask(h, &opener.Unlock{Place: h.place, Passphrase: 1, Keeper: 2}, input(h.t, pass), end)
	_ = end.Close()
	return reply, <-got, err
}

// ring opens the vault with the private keys from an unlock.
func (h *home) ring() *ring.Ring {
	h.t.Helper()
	u, got, err := h.unlock(passphrase)
	if err != nil || got.err != nil {
		h.t.Fatal(err, got.err)
	}
	slab, err := guard.NewSlab(64 << 10)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = slab.Close() })
	seeds, err := slab.Alloc(len(got.secret))
	if err != nil {
		h.t.Fatal(err)
	}
	copy(seeds.Bytes(), got.secret)
	r, err := ring.New(h.place.Vault, got.identity, seeds, slab.Alloc)
	if err == nil {
		err = r.Load(u.Keyring.Members, u.Keyring.Deks, keyring.Known{}, keyring.Update{})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// item stores a key in the vault and returns its line.
func (h *home) item(encoding, public []byte) []byte {
	h.t.Helper()
	r := h.ring()
	meta, err := (&vaultfile.Meta{Name: "work", Comment: "alice@laptop", Public: public}).Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	line := vaultfile.Revision{Item: id.NewItem(), Revision: id.NewRevision()}
	dek, err := r.Seal(&line, meta, encoding, false)
	if err != nil {
		h.t.Fatal(err)
	}
	object, _, err := r.Apply(keyring.Update{Add: []keyring.DEK{dek}}, 1_700_000_000)
	if err != nil {
		h.t.Fatal(err)
	}
	h.replace(backend.Deks, object)
	return line.Line()
}

// replace puts an object in the backend, as its operator can.
func (h *home) replace(o backend.Object, data []byte) {
	h.t.Helper()
	_, version, err := h.store.Get(h.t.Context(), o, "")
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		h.t.Fatal(err)
	}
	if _, err := h.store.Put(h.t.Context(), o, data, version); err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) object(o backend.Object) []byte {
	h.t.Helper()
	data, _, err := h.store.Get(h.t.Context(), o, "")
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

func wantKind(t *testing.T, err error, want ...opener.Kind) {
	t.Helper()
	if !slices.Contains(want, opener.KindOf(err)) {
		t.Fatalf("got %q (%v), want %v", opener.KindOf(err), err, want)
	}
}

func publicOf(t *testing.T, identity id.Identity, seeds []byte) keyring.Public {
	t.Helper()
	halves, err := envelope.NewHalves(identity, seeds)
	if err != nil {
		t.Fatal(err)
	}
	public, err := halves.Public()
	if err != nil {
		t.Fatal(err)
	}
	return public
}
