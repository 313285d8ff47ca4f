//go:build linux && amd64

package crash

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/testing/awsfake"
	"vigil/internal/testing/s3fake"
	"vigil/internal/testing/sshtest"
)

// pair is a vault on two devices, each with an identity, a passphrase and a
// vault file of its own. Both have one ledger.
type pair struct {
	t             *testing.T
	first, second *home
	met           []byte // the vault file when both had the same
	rounds        int
}

// secondPassphrase is the second device's, and stays it.
const secondPassphrase = "trombone umbrella windmill"

// newPair makes a vault on the first device, traced, and admits the second. The
// keyring is in a folder that both see, or behind a network.
func newPair(t *testing.T, role string, network bool) *pair {
	t.Helper()
	p := &pair{t: t, first: newHome(t, worlds()), second: newHome(t, worlds())}
	p.second.ledger = p.first.ledger
	p.second.write("pass0", secondPassphrase+"\n")
	if network {
		p.behindDoors()
	} else {
		p.first.backend = "file://" + p.first.path("shared")
		p.second.backend = p.first.backend
	}
	p.first.start(true)
	p.first.init()
	founded, err := os.ReadFile(p.first.vaultFile())
	if err != nil {
		t.Fatal(err)
	}
	p.copyTo(p.second.vaultFile(), founded)
	p.second.start(false)
	p.admit(role)
	p.second.unlock()
	p.agree()
	return p
}

// behindDoors puts the keyring into an emulated S3 that each device reaches
// through a door of its own.
func (p *pair) behindDoors() {
	cloud := awsfake.New()
	store, env := s3fake.New(cloud, "keyrings"), cloud.AddUser("alice").Env()
	for _, h := range p.both() {
		h.door = &door{store: store}
		server := httptest.NewServer(h.door)
		p.t.Cleanup(server.Close)
		h.backend = "s3://keyrings/pair?endpoint=" + url.QueryEscape(server.URL)
		h.env = append(h.env, env...)
	}
}

// door is a device's way to the store. A shut one drops every connection.
type door struct {
	store http.Handler
	shut  atomic.Bool
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.shut.Load() {
		panic(http.ErrAbortHandler)
	}
	d.store.ServeHTTP(w, r)
}

func (p *pair) both() []*home { return []*home{p.first, p.second} }

// admit has the second device ask to be let in, and the first do it.
func (p *pair) admit(role string) {
	p.t.Helper()
	args := append([]string{"identity", "request", "--backend", p.second.backend, "--passphrase-file", p.second.passFile(0)}, sshtest.CheapKDF...)
	var r control.IdentityRequestReply
	p.second.json(&r, args...)
	p.first.write("request", r.Text)
	p.first.must("identity", "admit", p.first.path("request"), "--words", r.Words, "--role", role, "--passphrase-file", p.first.passFile(0))
}

// vaults are the vault files as they are now.
func (p *pair) vaults() (files [2][]byte) {
	p.t.Helper()
	for n, h := range p.both() {
		data, err := os.ReadFile(h.vaultFile())
		if err != nil {
			p.t.Fatal(err)
		}
		files[n] = data
	}
	return files
}

// sync brings each device the other's vault file as Syncthing does. Where only
// one has changed since they met, it takes the other's place. Where both have,
// one takes both places, and the other lies beside it as a conflict copy, on
// both devices.
func (p *pair) sync() {
	p.t.Helper()
	for _, h := range p.both() {
		if !h.daemon.ended() {
			h.takesCopiesIn()
		}
	}
	files := p.vaults()
	switch {
	case bytes.Equal(files[0], files[1]):
		p.met = files[0]
	case bytes.Equal(files[1], p.met):
		p.put(1, files[0])
	case bytes.Equal(files[0], p.met):
		p.put(0, files[1])
	default:
		winner := p.rounds % 2
		for n, h := range p.both() {
			p.copyTo(filepath.Join(filepath.Dir(h.vaultFile()), "vault.sync-conflict-20261123-101112-ABCDEFG.jsonl"), files[1-winner])
			p.put(n, files[winner])
		}
		if !p.second.daemon.ended() {
			p.second.takesCopiesIn()
		}
	}
}

// put makes a device's vault file what both have met at.
func (p *pair) put(device int, data []byte) {
	p.t.Helper()
	p.copyTo(p.both()[device].vaultFile(), data)
	p.met = data
}

// copyTo puts a file in place whole, by rename.
func (p *pair) copyTo(path string, data []byte) {
	p.t.Helper()
	next := filepath.Join(filepath.Dir(path), ".syncthing.vault.jsonl.tmp")
	for _, err := range []error{os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(next, data, 0o600), os.Rename(next, path)} {
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// conflictCopies are those beside a home's vault file.
func (h *home) conflictCopies() []string {
	list, _ := filepath.Glob(filepath.Join(filepath.Dir(h.vaultFile()), "*conflict*"))
	return list
}

// takesCopiesIn waits until the daemon has, which it does by itself.
func (h *home) takesCopiesIn() {
	h.t.Helper()
	for deadline := time.Now().Add(patience); len(h.conflictCopies()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("after %s: conflict copies stay: %q", h.event, h.conflictCopies())
		}
	}
}

// works has the second device go on while it hasn't got everything: a change of
// its own, and a signature with each key that it lists. It doesn't edit what the
// first may have renewed, which is two heads by design.
func (p *pair) works(underFire string) {
	p.t.Helper()
	h, own := p.second, p.second.ledger.known("b-")
	h.event = p.first.event
	var r result
	switch others := h.listed("k-"); {
	case p.rounds%4 == 3 && len(others) > 0:
		r = h.remove(others[0])
	case p.rounds%4 == 2 && len(own) > 0:
		r = h.remove(own[0])
	case p.rounds%4 == 1 && len(own) > 0 && underFire != "rotate --deks":
		r = h.edit(own[0], fmt.Sprintf("comment %d", p.rounds))
	default:
		r = h.generate(fmt.Sprintf("b-%d", h.ledger.size()))
	}
	if r.code != 0 {
		p.t.Fatalf("after %s, the other device: %v", h.event, r)
	}
	p.rounds++
	h.sign(h.keys())
	h.files()
}

// listed are the names in the vault's list that have the prefix.
func (h *home) listed(prefix string) (names []string) {
	h.t.Helper()
	for _, k := range h.keys() {
		if strings.HasPrefix(k.Name, prefix) {
			names = append(names, k.Name)
		}
	}
	return names
}

// agree syncs everything until both have the same, and looks at it: each has
// what was reported as saved and nothing that was reported as removed, and each
// is content with its vault.
func (p *pair) agree() {
	p.t.Helper()
	p.second.event = p.first.event
	for deadline := time.Now().Add(patience); ; {
		p.sync()
		for _, h := range p.both() {
			h.must("refresh")
			h.takesCopiesIn()
		}
		if files := p.vaults(); bytes.Equal(files[0], files[1]) {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("after %s: the vault files never become the same", p.first.event)
		}
	}
	p.sync() // only notes that they met
	p.first.verify(true)
	p.second.verify(false)
	if a, b := p.first.keys(), p.second.keys(); !slices.Equal(a, b) {
		p.t.Fatalf("after %s: one lists\n%v\nand the other\n%v", p.first.event, a, b)
	}
	if a, b := p.first.verified(), p.second.verified(); a.Epoch != b.Epoch || a.KEK != b.KEK || a.Items != b.Items {
		p.t.Fatalf("after %s: one has verified %+v, the other %+v", p.first.event, a, b)
	}
}

// verified is vigilctl vault verify's report, in which nothing is wrong and
// nothing waits.
func (h *home) verified() (r control.VerifyReply) {
	h.t.Helper()
	if h.json(&r, "vault", "verify"); len(r.Problems) > 0 || r.WaitingForKey > 0 || r.Pending > 0 {
		h.t.Fatalf("after %s: verified %+v", h.event, r)
	}
	return r
}
