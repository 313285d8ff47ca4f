package attack

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/testing/sshtest"
)

// forging is text that makes lines and commands terminals: line ends, escapes, DEL,
// C1 controls, line separators and marks that turn the direction of text.
const forging = "x\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvil evil\r\x1b[2J\x1b]52;c;ZXZpbA==\a\x7f\u0085\u009b2J\u2028y\u2029\u202egnp.exe\u2066\u2069z"

// printed checks that what a command printed has nothing but lines that print, and
// none that begins as the forged one does.
func printed(t *testing.T, what, text string) {
	t.Helper()
	for i, line := range strings.Split(text, "\n") {
		if at := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }); at >= 0 {
			t.Errorf("%s: line %d has what doesn't print at %d: %q", what, i+1, at, line)
		}
		if strings.HasPrefix(strings.TrimSpace(line), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvil") {
			t.Errorf("%s: line %d is forged: %q", what, i+1, line)
		}
	}
}

// TestTextsMakeNoLines: a member of the vault writes line ends, escapes and the like
// into comment, hosts and tags of a key, and whoever can speak to the agent, such as a
// host that it was forwarded to, adds a key whose comment has them and gets it
// refused. No command prints a line, or commands a terminal, for them. Promise 8.
func TestTextsMakeNoLines(t *testing.T) {
	t.Parallel()
	h, member, _ := two(t, "member")
	member.OK("generate", "plain", "--comment", "plain")
	member.OK("generate", "bad")
	member.OK("edit", "bad", "--comment", forging, "--host", forging, "--tag", forging)
	h.TakeVaultFile(member)
	h.OK("refresh")
	lines := func(args ...string) int { return strings.Count(h.OK(args...).Out, "\n") }
	if got := h.OK("show", "bad", "--public").Out; strings.Count(got, "\n") != 1 {
		t.Errorf("show --public prints %q", got)
	}
	if got, want := lines("show", "bad"), lines("show", "plain")+2; got != want { // hosts and tags
		t.Errorf("show prints %d lines, want %d", got, want)
	}
	listed := exec.Command("ssh-add", "-L")
	listed.Env = append(os.Environ(), "SSH_AUTH_SOCK="+h.Agent.Socket)
	text, err := listed.Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n != 3 {
		t.Errorf("ssh-add -L prints %d lines for three keys", n)
	}
	printed(t, "ssh-add -L", string(text))

	// One that is added, and refused: a use that must be confirmed, with nobody to ask.
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Client().Add(agent.AddedKey{PrivateKey: &key, Comment: forging, ConfirmBeforeUse: true}); err != nil {
		t.Fatal(err)
	}
	if err := sshtest.SignWith(h.Client(), forging); err == nil {
		t.Fatal("signed without a confirmation")
	}
	if n := lines("list"); n != 4 {
		t.Errorf("list prints %d lines for four keys", n)
	}
	for _, args := range [][]string{
		{"list"},
		{"show", "bad"},
		{"why"},
		{"status"},
		{"doctor"},
		{"vault", "history", "bad"},
		{"export", "bad"},
		{"rm", forging, "--yes", "--passphrase-file", h.Pass},
		{"show", forging},
		{"edit", "bad", "--destination", forging},
		{"add", forging},
		{"unlock", "--vault", forging},
		{forging},
		{"identity", "remove", forging, "--yes"},
		{"vault", "restore", "bad", forging},
		{"__complete", "show", ""},
	} {
		r := h.Vigilctl(args...)
		printed(t, fmt.Sprintf("%.20q", args), r.Out)
		printed(t, fmt.Sprintf("%.20q", args), r.Err)
		if args[0] == "__complete" {
			continue
		}
		r = h.Vigilctl(append(args, "--json")...)
		printed(t, fmt.Sprintf("%.20q --json", args), r.Out)
		printed(t, fmt.Sprintf("%.20q --json", args), r.Err)
		for _, text := range []string{r.Out, r.Err} {
			if text != "" && !json.Valid([]byte(text)) {
				t.Errorf("%.20q --json isn't JSON: %s", args, text)
			}
		}
	}
	var list struct{ Keys []struct{ Comment string } }
	h.JSON(&list, "list")
	for _, k := range list.Keys {
		if k.Comment == forging {
			list.Keys = nil
			break
		}
	}
	if list.Keys != nil {
		t.Errorf("--json doesn't say what the comments are: %+v", list)
	}
	printed(t, "the log", string(h.Read(h.Agent.LogFile)))
}
