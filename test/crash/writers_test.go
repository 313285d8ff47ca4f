//go:build linux && amd64

package crash

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// reply is what add, generate, edit and rm print.
type reply struct {
	Key key `json:"key"`
}

// watcher is told of a vigilctl that runs, and returns what to call when it has
// ended.
type watcher func(*os.Process) (ended func())

// generate has vigilctl make a key.
func (h *home) generate(name string, w ...watcher) result {
	h.ledger.adding(name)
	return h.adds(h.watched(w, "generate", name, "--json"))
}

// adds enters the report of an addition.
func (h *home) adds(r result) result {
	if r.code != 0 {
		return r
	}
	var got reply
	if err := json.Unmarshal(r.out, &got); err != nil || got.Key.PublicKey == "" {
		h.t.Errorf("%v: no key in its answer %q: %v", r, r.out, err)
		return r
	}
	h.ledger.added(got.Key)
	return r
}

// add has vigilctl import a new private key.
func (h *home) add(name string, w ...watcher) result {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "imported")
	if err != nil {
		h.t.Fatal(err)
	}
	file := filepath.Join(h.dir, name+".key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		h.t.Errorf("write a key file: %v", err)
		return result{code: -1}
	}
	defer os.Remove(file)
	h.ledger.adding(name)
	return h.adds(h.watched(w, "add", file, "--name", name, "--json"))
}

// edit has vigilctl change a comment.
func (h *home) edit(name, comment string, w ...watcher) result {
	h.ledger.editing(name, comment)
	r := h.watched(w, "edit", name, "--comment", comment)
	if r.code == 0 {
		h.ledger.edited(name, comment)
	}
	return r
}

// remove has vigilctl remove a key.
func (h *home) remove(name string, w ...watcher) result {
	h.ledger.removing(name)
	r := h.watched(w, "rm", name, "--yes", "--passphrase-file", h.passFile(h.pass))
	if r.code == 0 {
		h.ledger.removed(name)
	}
	return r
}
