package residue

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"vigil/internal/guard"
	"vigil/internal/keyfile"
	"vigil/internal/wire"
)

// settle is how long after the last use of a secret nothing may be left of it.
const settle = 250 * time.Millisecond

// kinds are the kinds of key, each once in the vault by generate, once by add,
// and once added by ssh-add.
var kinds = []struct {
	kind string
	bits int
}{
	{keyfile.KindEd25519, 0},
	{keyfile.KindECDSA, 256},
	{keyfile.KindECDSA, 384},
	{keyfile.KindECDSA, 521},
	{keyfile.KindRSA, 2048},
	{keyfile.KindRSA, 3072},
	{keyfile.KindCompositeOpenSSH, 0},
}

// load is how keys are used: clients at once, and how often each uses every key.
const (
	clients = 8
	rounds  = 6
)

// scene is a world with what the test knows of its secrets.
type scene struct {
	*world
	guarded guard.Kind
	search  *search
	added   []*secretKey
	vault   map[string]*secretKey // by public key
	// made are signatures whose nonces weren't recomputed yet.
	made []*signature
}

// learn derives the secrets of the vault as it is now, and the nonces of the
// signatures that were made. It takes its time, so what is to be searched is
// captured before.
func (s *scene) learn() {
	s.t.Helper()
	o, err := s.files().open(s.pass)
	check(s.t, err)
	check(s.t, s.search.add(o.forms...))
	for _, k := range o.keys {
		s.vault[string(k.public)] = k
	}
	for _, sig := range s.made {
		forms, err := sig.forms(len(s.search.forms))
		check(s.t, err)
		check(s.t, s.search.add(forms...))
	}
	s.made = nil
}

// clean waits until secrets must be gone and looks for them in every process.
func (s *scene) clean(t *testing.T) {
	t.Helper()
	<-time.After(settle)
	var images []*image
	processes := s.processes()
	for _, p := range processes {
		im, err := capture(p.pid, s.guarded)
		check(t, err)
		images = append(images, im)
	}
	s.learn()
	roles := map[string]int{}
	for i, im := range images {
		p := processes[i]
		roles[p.role]++
		if found := im.find(s.search); len(found) > 0 {
			t.Errorf("%d of %d secret forms are in the %d KiB of readable memory of %s %d:\n%s",
				len(found), len(s.search.forms), im.size()>>10, p.role, p.pid, some(found))
		}
		if p.role == "keeper" && im.guarded == 0 {
			t.Errorf("keeper %d has no guarded memory", p.pid)
		}
		if im.size() < 1<<20 {
			t.Errorf("only %d bytes of %s %d could be read", im.size(), p.role, p.pid)
		}
	}
	if roles["front"] != 1 {
		t.Errorf("there are %d fronts", roles["front"])
	}
	if roles["opener"] != 0 {
		t.Errorf("%d openers outlived their job", roles["opener"])
	}
	t.Logf("%d secret forms looked for in %v", len(s.search.forms), roles)
}

func TestNothingIsLeft(t *testing.T) {
	for _, guarded := range []guard.Kind{guard.SecretMemory, guard.LockedMemory} {
		t.Run(string(guarded), func(t *testing.T) { nothingIsLeft(t, guarded) })
	}
}

func nothingIsLeft(t *testing.T, guarded guard.Kind) {
	s := &scene{
		world: newWorld(t, fmt.Sprintf("secret_memory = %q\n", guarded)), guarded: guarded,
		search: newSearch(), vault: map[string]*secretKey{},
	}
	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, func(t *testing.T) { s.t = t; defer func() { s.t = t }(); f(t); s.clean(t) }) {
			return
		}
	}
	step("init and unlock", func(*testing.T) {
		s.vigilctl("init", "--unlock", "--passphrase-file", s.passFile, "--kdf-memory=64", "--kdf-parallelism=1")
	})
	for _, k := range kinds {
		step(fmt.Sprintf("generate %s %d", k.kind, k.bits), func(*testing.T) { s.generate(k.kind, k.bits) })
	}
	for _, k := range kinds {
		step(fmt.Sprintf("import %s %d", k.kind, k.bits), func(*testing.T) { s.importKey(k.kind, k.bits) })
	}
	for _, k := range kinds {
		step(fmt.Sprintf("ssh-add %s %d", k.kind, k.bits), func(*testing.T) { s.sshAdd(k.kind, k.bits) })
	}
	step("signatures under load", func(t *testing.T) { s.signAll(t) })
	step("signatures again, unlocked and idle", func(t *testing.T) { s.signAll(t) })
	step("ssh-add -x and -X", func(t *testing.T) { s.hide(t) })
	step("refused keys", func(t *testing.T) { s.addDamaged(t) })
	step("edit and refresh", func(*testing.T) {
		s.vigilctl("edit", "generated-ecdsa-256", "--comment", "another")
		s.vigilctl("edit", "imported-rsa-2048", "--tag", "old")
		s.vigilctl("refresh")
	})
	step("verify and rotate", func(*testing.T) {
		s.vigilctl("vault", "verify")
		s.vigilctl("rotate")
		s.vigilctl("rotate", "--deks", "--passphrase-file", s.passFile)
	})
	step("another passphrase", func(t *testing.T) { s.changePassphrase(t) })
	step("export", func(*testing.T) { s.export() })
	step("wrong passphrase", func(t *testing.T) { s.wrongPassphrase(t) })
	step("lock", func(t *testing.T) {
		before := s.processes()
		s.vigilctl("lock")
		if n := s.count("keeper"); n != 0 {
			t.Errorf("%d keepers are left", n)
		}
		for _, p := range before {
			if err := syscall.Kill(p.pid, 0); p.role == "keeper" && !errors.Is(err, syscall.ESRCH) {
				t.Errorf("keeper %d is still there: %v", p.pid, err)
			}
		}
		s.added = nil
	})
	step("unlock", func(*testing.T) { s.vigilctl("unlock", "--passphrase-file", s.passFile) })
	step("signatures after unlock", func(t *testing.T) { s.signAll(t) })
	step("lock again", func(*testing.T) { s.vigilctl("lock") })
}

func label(how, kind string, bits int) string { return fmt.Sprintf("%s-%s-%d", how, kind, bits) }

func (s *scene) generate(kind string, bits int) {
	args := []string{"generate", name(label("generated", kind, bits)), "--type", typeFlag(kind)}
	if bits != 0 {
		args = append(args, "--bits", fmt.Sprint(bits))
	}
	s.vigilctl(args...)
}

// typeFlag is what vigilctl calls a kind.
func typeFlag(kind string) string {
	if kind == keyfile.KindCompositeOpenSSH {
		return keyfile.KindComposite
	}
	return kind
}

// name makes a label a name that a key may have.
func name(label string) string {
	b := []byte(label)
	for i, c := range b {
		if c == '@' {
			b[i] = '-'
		}
	}
	return string(b)
}

// newKey makes a key outside Vigil.
func (s *scene) newKey(how, kind string, bits int) *secretKey {
	s.t.Helper()
	made, err := keyfile.Generate(kind, bits, how)
	check(s.t, err)
	defer func() { check(s.t, made.Close()) }()
	encoding := append([]byte(nil), made.Encoding()...)
	k, err := readKey(label(how, kind, bits), encoding)
	check(s.t, err)
	check(s.t, s.search.add(k.forms()...))
	return k
}

// importKey imports a key file with a passphrase.
func (s *scene) importKey(kind string, bits int) {
	k := s.newKey("imported", kind, bits)
	pass := "a key file's: " + random(s.t)
	check(s.t, s.search.add(form{name: "passphrase of " + k.name, bytes: []byte(pass)}))
	text, err := keyfile.MarshalOpenSSH(k.encoding, k.name, []byte(pass))
	check(s.t, err)
	file, passFile := s.write("key", text), s.write("keypass", []byte(pass))
	s.vigilctl("add", file, "--name", name(k.name), "--key-passphrase-file", passFile)
	check(s.t, os.Remove(file))
	check(s.t, os.Remove(passFile))
}

// sshAdd adds a key with ssh-add, or, where that is too old to know its kind,
// with the message that it would send.
func (s *scene) sshAdd(kind string, bits int) {
	k := s.newKey("added", kind, bits)
	s.added = append(s.added, k)
	if kind == keyfile.KindCompositeOpenSSH {
		a, err := s.dial()
		check(s.t, err)
		defer a.Close()
		check(s.t, a.succeed(msgAddIdentity, wire.AppendString(append([]byte(nil), k.encoding...), k.name)))
		return
	}
	text, err := keyfile.MarshalOpenSSH(k.encoding, k.name, nil)
	check(s.t, err)
	file := s.write("key", text)
	s.run("ssh-add", "-q", file)
	check(s.t, os.Remove(file))
}

// signAll uses every key from several clients at once.
func (s *scene) signAll(t *testing.T) {
	s.learn()
	keys := append([]*secretKey(nil), s.added...)
	for _, k := range s.vault {
		keys = append(keys, k)
	}
	var mu sync.Mutex
	var made []*signature
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for c := range clients {
		wg.Go(func() {
			errs[c] = s.client(c, keys, func(sig *signature) { mu.Lock(); made = append(made, sig); mu.Unlock() })
		})
	}
	wg.Wait()
	check(t, errors.Join(errs...))
	t.Logf("%d signatures with %d keys", len(made), len(keys))
	s.made = append(s.made, made...)
}

// client signs with each key in turn, data of many lengths.
func (s *scene) client(c int, keys []*secretKey, made func(*signature)) error {
	a, err := s.dial()
	if err != nil {
		return err
	}
	defer a.Close()
	for round := range rounds {
		for i := range keys {
			k := keys[(i+c)%len(keys)]
			data := []byte(fmt.Sprintf("client %d, round %d, key %d ", c, round, i))
			for len(data) < (c*rounds+round)*17 {
				data = append(data, data...)
			}
			sig, err := a.sign(k, data)
			if err != nil {
				return err
			}
			made(sig)
		}
	}
	return nil
}

// hide locks with ssh-add -x's message, guesses wrong, and unlocks.
func (s *scene) hide(t *testing.T) {
	pass := []byte("of ssh-add -x: " + random(t))
	check(t, s.search.add(form{name: "passphrase of ssh-add -x", bytes: pass}))
	wrong := []byte("a wrong guess at it: " + random(t))
	check(t, s.search.add(form{name: "wrong passphrase of ssh-add -x", bytes: wrong}))
	a, err := s.dial()
	check(t, err)
	defer a.Close()
	check(t, a.succeed(msgLock, wire.AppendString(nil, string(pass))))
	if a.succeed(msgUnlock, wire.AppendString(nil, string(wrong))) == nil {
		t.Error("a wrong passphrase unlocks")
	}
	check(t, a.succeed(msgUnlock, wire.AppendString(nil, string(pass))))
}

// addDamaged sends keys that are refused: half read, they leave nothing either.
func (s *scene) addDamaged(t *testing.T) {
	for _, k := range kinds {
		key := s.newKey("refused", k.kind, k.bits)
		for _, cut := range []int{len(key.encoding) - 40, len(key.encoding) / 2, 0} {
			a, err := s.dial()
			check(t, err)
			body := append([]byte(nil), key.encoding...)
			if cut > 0 {
				body = body[:cut]
			} else {
				body[len(body)-1] ^= 1 // a whole key whose halves don't belong together
				body = wire.AppendString(body, "comment")
			}
			if a.succeed(msgAddIdentity, body) == nil {
				t.Errorf("%s: a damaged key was taken", key.name)
			}
			a.Close()
		}
	}
}

func (s *scene) export() {
	pass := "an exported file's: " + random(s.t)
	check(s.t, s.search.add(form{name: "passphrase of an export", bytes: []byte(pass)}))
	passFile := s.write("exportpass", []byte(pass))
	s.vigilctl("export", "generated-ed25519-0", "--output", "out", "--passphrase-file", s.passFile, "--key-passphrase-file", passFile)
	s.vigilctl("export", "imported-rsa-3072", "--output", "clear", "--passphrase-file", s.passFile, "--no-passphrase")
	for _, file := range []string{"out", "clear", "exportpass"} {
		check(s.t, os.Remove(s.dir+"/"+file))
	}
}

// changePassphrase also changes share, identity and KEK.
func (s *scene) changePassphrase(t *testing.T) {
	pass := []byte("the next passphrase: " + random(t))
	file := s.write("nextpass", pass)
	s.vigilctl("passphrase", "--passphrase-file", s.passFile, "--new-passphrase-file", file)
	s.pass, s.passFile = pass, file
}

func (s *scene) wrongPassphrase(t *testing.T) {
	wrong := "not the passphrase: " + random(t)
	check(t, s.search.add(form{name: "wrong passphrase", bytes: []byte(wrong)}))
	file := s.write("wrong", []byte(wrong))
	if out, err := s.command("vigilctl", "export", "generated-ed25519-0", "--output", "none", "--no-passphrase", "--passphrase-file", file).CombinedOutput(); err == nil {
		t.Errorf("a wrong passphrase exports:\n%s", out)
	}
}
