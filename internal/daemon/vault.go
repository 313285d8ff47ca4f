package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vigil/internal/agentproto"
	"vigil/internal/backend"
	"vigil/internal/clock"
	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/opener"
	"vigil/internal/pubkey"
	"vigil/internal/sshagent"
	"vigil/internal/state"
	"vigil/internal/vaultfile"
)

// vault is one vault of the config.
type vault struct {
	d    *Daemon
	name string
	cfg  atomic.Pointer[config.Vault] // a snapshot: what changes it makes another, with the job turn

	job turn // unlock, refresh and writes: one at a time

	showing sync.Mutex // held while the agent is told what the vault lists; taken before mu

	mu      sync.Mutex    // guards what follows; never held across I/O
	open    *openVault    // nil while locked
	jobs    map[*job]bool // under way, or waiting for their turn
	slow    slowdown
	problem *control.Error
	listed  []state.PublicKey // while locked

	unfinishedKEK uint64 // the KEK whose rotation the last refresh found unfinished; by whoever holds the job turn

	fileErr error          // why the vault file can't be used, as it was said last
	copies  *control.Error // why conflict copies can't be taken in, as it was said last
}

// openVault is an unlocked vault. What it holds of the keyring and the items is
// replaced under vault.mu by whoever holds the job turn.
type openVault struct {
	keeper   *keeper.Client
	id       id.Vault
	identity id.Identity
	since    time.Time

	refreshed  time.Time     // when the backend was reached last
	proved     clock.Instant // when the last proof was asked for; zero: not since an unlock without network
	share      seenShare     // that the last proof was of
	collected  time.Time     // when DEKs that may go were looked for
	leaseEnds  clock.Instant // nothing but a proof moves it
	offline    bool          // unlocked from what the device keeps
	offlineWhy string
	refused    error // why the keyring is the kept one; nil: it's the backend's

	stale    chan struct{}   // holds a token while the keys to list when locked aren't kept yet
	given    *vaultfile.File // the keeper has it; nil: none, or nobody knows
	file     *vaultfile.File // as it was loaded
	keyring  opener.Fetched
	loaded   *keeper.Loaded
	noted    keeper.Pins                             // the newest that the device state has
	known    keeper.Known                            // what the device state had before; Replaced is as it is now
	replaced []id.Revision                           // as the device state has it
	kept     struct{ members, deks backend.Version } // of the keyring in it
	facts    map[id.Revision]*fact
	keys     []*fact // those in use, sorted by name
	waiting  int
	pending  int
	damaged  []string             // lines of the vault file that can't be read
	taken    map[string]takenCopy // conflict copies beside it, by name
}

// fact is what the front knows of a revision.
type fact struct {
	item     id.Item
	revision id.Revision
	key      uint64 // its number in the keeper
	meta     vaultfile.Meta
	label    string // what an agent lists
	to       []agentproto.Destination
	reported string // why it can't be used, as the keeper says
	problem  string // the same, or what the front finds wrong
	state    keeper.ItemState
	of       *keeper.Loaded // what it was loaded with last
	heads    int            // how many its item has
	laxer    bool           // than another head of its item, or one of too many to compare
	unlisted bool           // laxer, and a head of its item isn't
	pending  bool           // the backend doesn't have it yet
}

// refusal is why the key doesn't sign, or "".
func (f *fact) refusal() string {
	switch {
	case f.problem != "":
		return f.problem
	case f.state == keeper.ItemHeld:
		return "a newer revision of the key restricts its use further, and is missing from this device's vault file"
	case f.state == keeper.ItemReplaced:
		return "a newer revision of the key was here, and is missing from the vault file now"
	case f.heads > keyring.MaxParents:
		return "the key has " + strconv.Itoa(f.heads) + " revisions at once: choose one with vigilctl edit --keep, and again while there are more"
	case f.laxer:
		return "the key was edited on two devices, and the other revision restricts its use further: choose one with vigilctl edit --keep"
	}
	return ""
}

func newVault(d *Daemon, c config.Vault) *vault {
	v := &vault{d: d, name: c.Name, jobs: map[*job]bool{}}
	v.setConfig(c)
	return v
}

// config is the vault's configuration as it is now, which nobody may change. Parts
// of it that belong together are taken from one call.
func (v *vault) config() *config.Vault { return v.cfg.Load() }

func (v *vault) setConfig(c config.Vault) { v.cfg.Store(&c) }

// current returns the unlocked vault, or the error that says that it's locked.
func (v *vault) current() (*openVault, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		return nil, control.Errorf(control.CodeLocked, "Unlock it: vigilctl unlock --vault "+v.name, "vault %q is locked", v.name)
	}
	return v.open, nil
}

// place says where the vault's parts are.
func (v *vault) place(vaultID id.Vault, identity id.Identity) opener.Place {
	c := v.config()
	return opener.Place{
		Name: v.name, Vault: vaultID, Identity: identity,
		Backend: c.Backend, KeyringDir: v.d.o.Paths.Keyring(v.name),
		Master: c.Master, DeviceDir: v.d.o.Paths.Device(),
		SessionDir: filepath.Join(v.d.o.Paths.State, "aws"),
	}
}

// readFile reads the vault file and checks that it's the vault this device knows
// by this name.
func (v *vault) readFile() (*vaultfile.File, error) { return v.readFileAfter(&vaultfile.File{}) }

// readFileAfter is readFile for a vault file that is likely to be nearly as it was.
func (v *vault) readFileAfter(before *vaultfile.File) (*vaultfile.File, error) {
	data, err := v.readBytes()
	if err != nil {
		return nil, err
	}
	return v.parseAfter(before, data)
}

func (v *vault) readBytes() ([]byte, error) {
	data, err := readVaultFile(v.config().Path)
	if err != nil {
		return nil, v.readError(err)
	}
	return data, nil
}

// readOpened is readFileAfter for a vault file that was opened, or not, with openErr.
func (v *vault) readOpened(before *vaultfile.File, file *os.File, openErr error) (*vaultfile.File, error) {
	if openErr != nil {
		return nil, v.readError(openErr)
	}
	data, err := durable.Read(file, vaultfile.MaxFile)
	if err != nil {
		return nil, v.readError(err)
	}
	return v.parseAfter(before, data)
}

func (v *vault) parseAfter(before *vaultfile.File, data []byte) (*vaultfile.File, error) {
	f, err := before.Parse(data, id.Vault{})
	if err != nil {
		return nil, fileError(v, err)
	}
	return f, v.checkName(f.Vault())
}

// readHeader reads which vault the file is of, checked like readFile, and whether it
// has no items.
func (v *vault) readHeader() (vaultID id.Vault, empty bool, err error) {
	head, whole, err := readVaultHeader(v.config().Path)
	if err != nil {
		return vaultID, false, v.readError(err)
	}
	vaultID, err = vaultfile.ParseHeader(head)
	if err != nil {
		return vaultID, false, fileError(v, err)
	}
	return vaultID, whole, v.checkName(vaultID)
}

// checkName checks that this device knows this vault by the name, or none yet.
func (v *vault) checkName(vaultID id.Vault) error {
	names, err := v.d.state.Names()
	if err != nil {
		return err
	}
	if known, ok := names[v.name]; ok && known != vaultID {
		return control.Errorf(control.CodeRefused, "Nothing was changed. Put the right file back, or give the other vault another name in the config.",
			"%s is vault %v, and %q is vault %v on this device", v.config().Path, vaultID, v.name, known)
	}
	return nil
}

func (v *vault) readError(err error) *control.Error {
	if errors.Is(err, fs.ErrNotExist) {
		return control.Errorf(control.CodeNotFound, "Make one: vigilctl up (or vigilctl init).", "vault %q has no file at %s", v.name, v.config().Path)
	}
	next := "Nothing was changed. Check the file's owner and permissions."
	if errors.Is(err, durable.ErrNotAFile) || errors.Is(err, durable.ErrTooLarge) || errors.Is(err, syscall.ELOOP) {
		next = "Nothing was changed. Put back a good copy of " + v.config().Path + ": earlier ones are in .history/ beside it."
	}
	return control.Errorf(control.CodeFailed, next, "read vault %q: %v", v.name, err)
}

func fileError(v *vault, err error) *control.Error {
	next := "Nothing was changed. Put back a good copy of " + v.config().Path + ": earlier ones are in .history/ beside it."
	if vaultfile.StageOf(err) == vaultfile.StageVersion {
		next = "Nothing was changed. A newer Vigil wrote it: upgrade."
	}
	return control.Errorf(control.CodeDamaged, next, "vault %q can't be read: %v", v.name, err)
}

// show makes the agent list what is loaded, unless it was locked meanwhile.
func (v *vault) show(o *openVault) {
	v.showing.Lock()
	defer v.showing.Unlock()
	if now, err := v.current(); err != nil || now != o {
		return
	}
	keys := make([]sshagent.VaultKey, 0, len(o.keys))
	for _, f := range o.keys {
		if len(f.meta.Public) == 0 || f.unlisted {
			continue // damaged: there is nothing to list; or the stricter one is listed
		}
		k := sshagent.VaultKey{
			ID: f.key, Signer: vaultSigner{o.keeper}, Refusal: f.refusal(),
			Blob: f.meta.Public, Comment: f.label, To: f.to, Confirm: f.meta.Policy.Confirm,
		}
		if k.Refusal != "" {
			k.Signer = nil
		}
		if len(f.meta.Certificate) > 0 {
			k.Certificate = f.meta.Certificate
		}
		keys = append(keys, k)
	}
	v.d.agent.SetVault(v.name, keys)
}

// label is what ssh-add -l shows: the comment, or the name where there is none, as
// one printable line. Any member of the vault can have written it, and ssh-add -L
// prints what an agent lists as it is, into authorized_keys for some. A comment that
// came with ssh-add is listed as it came.
func label(comment, name string) string { return pubkey.CleanComment(cmp.Or(comment, name)) }

// vaultSigner is a vault's keeper as the agent sees it.
type vaultSigner struct{ c *keeper.Client }

// Sign signs with a key of the vault. See [sshagent.Signer].
func (s vaultSigner) Sign(ctx context.Context, key uint64, data []byte, flags uint32, dst []byte) ([]byte, error) {
	return signWith(s.c, ctx, key, data, flags, dst)
}

// showLocked makes the agent list the public keys that this device remembers.
func (v *vault) showLocked() {
	keys, err := v.remembered()
	if err != nil && !errors.Is(err, state.ErrNone) {
		v.d.log.Warn("public keys of a locked vault can't be listed", "vault", v.name, "err", err)
	}
	v.listLocked(keys)
}

// listLocked makes the agent list public keys that can't sign now, unless the
// vault was unlocked meanwhile.
func (v *vault) listLocked(keys []state.PublicKey) {
	v.showing.Lock()
	defer v.showing.Unlock()
	v.mu.Lock()
	v.listed = keys
	unlocked := v.open != nil
	v.mu.Unlock()
	if unlocked {
		return
	}
	list := make([]sshagent.VaultKey, 0, len(keys))
	for _, k := range keys {
		vk := sshagent.VaultKey{Blob: k.Public, Comment: label(k.Comment, k.Name), Confirm: k.Confirm}
		if len(k.Destinations) > 0 {
			to, err := agentproto.ParseDestinations(k.Destinations)
			if err != nil {
				continue // a cache that can't be understood shows nothing
			}
			vk.To = to
		}
		if len(k.Certificate) > 0 {
			vk.Certificate = k.Certificate
		}
		list = append(list, vk)
	}
	v.d.agent.SetVault(v.name, list)
}

func (v *vault) remembered() ([]state.PublicKey, error) {
	if !v.config().PublicCache {
		return nil, nil
	}
	names, err := v.d.state.Names()
	if err != nil {
		return nil, err
	}
	vaultID, ok := names[v.name]
	if !ok {
		return nil, nil
	}
	return v.d.state.Vault(vaultID).PublicKeys()
}

// take makes facts of what the keeper loaded, keeping those it knows, and
// reports whether there are others than before.
func (o *openVault) take(l *keeper.Loaded, fetched opener.Fetched, f *vaultfile.File, w keyring.Update) (changed bool) {
	facts := make(map[id.Revision]*fact, len(l.Items))
	keys := make([]*fact, 0, len(l.Items))
	touched := map[id.Item]bool{} // the items whose heads may be others
	for i := range l.Items {
		it := &l.Items[i]
		known := o.facts[it.Revision]
		if known == nil || it.Meta != nil || it.Problem != known.reported {
			known = newFact(it)
			keys, touched[it.Item] = append(keys, known), true
		}
		changed = changed || known.state != it.State
		known.key, known.state, known.pending, known.of = it.Key, it.State, false, l
		facts[it.Revision] = known
	}
	for _, f := range o.keys {
		if f.of == l {
			keys = append(keys, f)
		} else {
			touched[f.item] = true
		}
	}
	slices.SortFunc(keys, func(a, b *fact) int {
		if c := strings.Compare(a.meta.Name, b.meta.Name); c != 0 {
			return c
		}
		return bytes.Compare(a.revision[:], b.revision[:])
	})
	changed = markLaxer(keys, touched) || changed || len(touched) > 0
	l.Items = nil
	o.loaded, o.keyring, o.facts, o.keys = l, fetched, facts, keys
	o.waiting = l.Waiting
	o.pending = len(w.Add) + len(w.Remove)
	for _, e := range w.Add {
		if f := facts[e.Revision]; f != nil {
			f.pending = true
		}
	}
	o.damaged = nil
	for i := range f.Damaged() {
		o.damaged = append(o.damaged, f.Damaged()[i].Error())
	}
	return changed
}

// markLaxer marks the heads that lack a restriction which another head of their item
// has, of the items that are named: until somebody chooses, nothing looser than any
// of them serves. Of more heads than an edit can resolve, none does; nor are they
// compared, each with every other.
func markLaxer(keys []*fact, items map[id.Item]bool) (changed bool) {
	heads := headsOf(keys, items)
	for _, f := range keys {
		if !items[f.item] {
			continue
		}
		of := heads[f.item]
		laxer := len(of) > keyring.MaxParents || slices.ContainsFunc(of, func(other *fact) bool {
			return other != f && other.problem == "" && other.meta.Policy.Tightens(&f.meta.Policy)
		})
		changed = changed || laxer != f.laxer
		f.heads, f.laxer, f.unlisted = len(of), laxer, false
	}
	for _, of := range heads {
		if slices.ContainsFunc(of, func(f *fact) bool { return !f.laxer }) {
			for _, f := range of {
				f.unlisted = f.laxer
			}
		}
	}
	return changed
}

// headsOf returns the heads of items.
func headsOf(keys []*fact, items map[id.Item]bool) map[id.Item][]*fact {
	heads := make(map[id.Item][]*fact, len(items))
	for _, f := range keys {
		if items[f.item] {
			heads[f.item] = append(heads[f.item], f)
		}
	}
	return heads
}

// newFact reads an item's metadata. What can't be read or isn't understood
// makes the key unusable, never less restricted.
func newFact(it *keeper.Item) *fact {
	f := &fact{item: it.Item, revision: it.Revision, reported: it.Problem, problem: it.Problem}
	if it.Problem != "" {
		return f
	}
	meta, err := vaultfile.ParseMeta(it.Meta)
	if err != nil {
		f.problem = "the item is damaged: " + err.Error()
		return f
	}
	f.meta, f.label = meta, label(meta.Comment, meta.Name)
	if len(meta.Policy.Other) > 0 {
		f.problem = "the key's policy has a condition that this version of Vigil doesn't know"
	}
	if len(meta.Policy.Destinations) > 0 {
		if f.to, err = agentproto.ParseDestinations(meta.Policy.Destinations); err != nil {
			f.problem = "the key's destination constraints can't be read: " + err.Error()
		}
	}
	return f
}

// close ends the keeper at the daemon's end.
func (v *vault) close() {
	v.mu.Lock()
	o := v.open
	v.open = nil
	v.mu.Unlock()
	if o != nil {
		o.keeper.Close()
	}
}
