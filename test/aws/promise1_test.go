package aws

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"vigil/internal/config"
	"vigil/internal/control"
	"vigil/internal/testing/sshtest"
)

// TestEveryPartIsNeeded gives vigild every combination of vault file, keyring,
// passphrase and master key, where a part that is missing is another vault's.
// Only all four together unlock.
func TestEveryPartIsNeeded(t *testing.T) {
	w := newWorld(t)
	mine := w.laptop(w.alice)
	mine.OK(mine.initArgs("--unlock")...)
	mine.AddKey("mine")

	// A whole vault of somebody else's, in the same account.
	theirs := w.laptop(w.alice)
	otherKey := w.kms.CreateKey()
	theirs.Write("pass", "another passphrase\n")
	otherBackend := strings.Replace(w.backend(), prefix, "other", 1)
	args := append([]string{"init", "--unlock", "--master", w.master(otherKey), "--backend", otherBackend, "--passphrase-file", theirs.Pass}, sshtest.CheapKDF...)
	theirs.OK(args...)
	theirs.AddKey("theirs")

	for bits := range 16 {
		vault, ring, pass, kms := bits&1 != 0, bits&2 != 0, bits&4 != 0, bits&8 != 0
		name := fmt.Sprintf("vault %t keyring %t passphrase %t kms %t", vault, ring, pass, kms)
		l := w.newHome(w.alice)
		from, c := theirs, config.VaultConfig{Master: w.master(otherKey), Backend: otherBackend}
		if vault {
			from = mine
		}
		l.TakeVaultFile(from.Home)
		if ring {
			c.Backend = w.backend()
		}
		if kms {
			c.Master = w.master(w.arn)
		}
		if !pass {
			l.Write("pass", "another passphrase\n")
		}
		l.Write("config/vigil/config.toml", fmt.Sprintf("[vault.default]\nmaster = %q\nbackend = %q\n", c.Master, c.Backend))
		l.Start()
		r := l.Vigilctl(l.By("unlock")...)
		state := l.Vault().State
		// Two whole vaults are among the combinations: all mine, and all theirs.
		whole := bits == 0 || bits == 15
		if opened := r.Status == sshtest.StatusDone || state == control.VaultUnlocked; opened != whole {
			t.Errorf("%s: %s, vault is %s", name, r, state)
		}
		if whole != (len(l.Listed()) > 0) {
			t.Errorf("%s: %d keys are listed", name, len(l.Listed()))
		}
		if !whole && r.Status == sshtest.StatusDone {
			t.Errorf("%s: unlock ends with 0", name)
		}
		_ = l.Agent.Close()
	}
}

// TestNeitherFactorAloneOpens takes everything that is stored, and each factor
// without the other, and goes down the hierarchy by hand.
func TestNeitherFactorAloneOpens(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.OK(l.initArgs("--unlock")...)
	l.AddKey("work")
	whole := l.steal()
	if o, err := whole.open(); err != nil || len(o.items) != 1 {
		t.Fatalf("both factors: %d items, %v", len(o.items), err)
	}
	other := bytes.Repeat([]byte{7}, len(whole.share))
	for name, change := range map[string]func(p *parts){
		"no share":              func(p *parts) { p.share = make([]byte, len(p.share)) },
		"another share":         func(p *parts) { p.share = other },
		"no passphrase":         func(p *parts) { p.passphrase = " " },
		"another passphrase":    func(p *parts) { p.passphrase += "r" },
		"neither":               func(p *parts) { p.share, p.passphrase = other, "x" },
		"a space at the end":    func(p *parts) { p.passphrase += " " },
		"one bit of the share":  func(p *parts) { p.share = append([]byte{p.share[0] ^ 1}, p.share[1:]...) },
		"factors of each other": func(p *parts) { p.passphrase = base64.StdEncoding.EncodeToString(p.share); p.share = other },
	} {
		p := whole
		change(&p)
		o, err := p.open()
		if err == nil || !strings.HasPrefix(err.Error(), "private halves: ") {
			t.Errorf("%s: %v, want private halves that don't open", name, err)
		}
		if len(o.keks)+len(o.deks)+len(o.items)+len(o.meta) > 0 || !isZero(o.halves) {
			t.Errorf("%s: something was opened", name)
		}
	}
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// TestTrafficHoldsNoSecret records what goes to KMS and S3, and comes from
// them, over a vault's life.
func TestTrafficHoldsNoSecret(t *testing.T) {
	w := newWorld(t)
	l := w.laptop(w.alice)
	l.init()
	l.Unlock()
	l.AddKey("laptop-key")
	l.OK("generate", "--host", "bastion.example.org", "--tag", "production-tag", "--comment", "who made it", "generated-name")
	l.OK("edit", "laptop-key", "--host", "intranet.example.org")
	l.OK("refresh")
	l.OK("lock")
	l.Unlock()
	l.Signs("laptop-key")
	l.OK(l.By("rm", "--yes", "generated-name")...)

	p := l.steal()
	o, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	needles := map[string][]byte{"passphrase": []byte(passphrase)}
	for _, name := range []string{
		"laptop-key", "generated-name", "who made it", "bastion.example.org", "intranet.example.org", "example", "production-tag",
	} {
		needles["name "+name] = []byte(name)
	}
	if host, err := os.Hostname(); err == nil && len(host) > 5 && host != "localhost" {
		needles["this machine's name"] = []byte(host)
	}
	for i, list := range [][][]byte{{o.halves[:32], o.halves[32:]}, o.keks, o.deks} {
		for j, key := range list {
			needles[fmt.Sprintf("key %d.%d", i, j)] = key
		}
	}
	for i, item := range o.items {
		needles[fmt.Sprintf("item %d", i)] = item
		// The seed alone: the last string of the encoding's body.
		at := bytes.Index(item, []byte("ssh-ed25519")) + len("ssh-ed25519") + 4 + 32 + 4
		needles[fmt.Sprintf("seed %d", i)] = item[at:][:32]
	}
	for what, needle := range needles {
		for _, e := range w.cloud.Exchanges() {
			if where := found(exchangeBytes(e.URL, e.Header, e.Body), e.Answer, needle); where != "" {
				t.Errorf("%s stands in the %s of %s %s", what, where, e.Method, e.Action)
			}
		}
	}
	// The share is in KMS's answers, as it must be, which also shows that such a
	// search finds something; and nowhere else.
	answers := 0
	for _, e := range w.cloud.Exchanges() {
		switch where := found(exchangeBytes(e.URL, e.Header, e.Body), e.Answer, p.share); {
		case where == "answer" && strings.HasPrefix(e.Action, "kms:"):
			answers++
		case where != "":
			t.Errorf("the share stands in the %s of %s", where, e.Action)
		}
	}
	if want := 5; answers != want { // init, unlock, refresh, rm, unlock
		t.Errorf("the share stands in %d answers of KMS, want %d", answers, want)
	}
}

func exchangeBytes(uri string, header map[string][]string, body []byte) []byte {
	text := fmt.Sprintln(uri, header)
	if plain, err := url.PathUnescape(uri); err == nil {
		text += plain
	}
	return append([]byte(text), body...)
}

// found looks for a needle in every form that a careless program would send it.
func found(request, answer, needle []byte) string {
	for _, form := range [][]byte{
		needle, []byte(hex.EncodeToString(needle)), []byte(strings.ToUpper(hex.EncodeToString(needle))),
		[]byte(strings.TrimRight(base64.StdEncoding.EncodeToString(needle), "=")), []byte(base64.RawURLEncoding.EncodeToString(needle)),
	} {
		if bytes.Contains(request, form) {
			return "request"
		}
		if bytes.Contains(answer, form) {
			return "answer"
		}
	}
	return ""
}
