package main

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"vigil/internal/control"
	"vigil/internal/printable"
)

// print writes a reply to stdout: as JSON, or as human writes it. If the reply is
// about a change, it first reports on stderr where that was saved.
func (a *app) print(reply any, human func(w io.Writer)) error {
	if c, ok := reply.(interface{ Outcome() control.Saved }); ok {
		a.saved(c.Outcome())
	}
	p := a.pageFor(a.stdout)
	if a.json {
		p.width = 0
		if err := writeJSON(p, reply); err != nil {
			return err
		}
	} else {
		human(p)
	}
	if err := p.sendTo(a.stdout); err != nil {
		return control.Errorf(control.CodeFailed, "", "write to standard output: %v", err)
	}
	return nil
}

// say writes a line for people to stderr. With --json it writes nothing, because
// stderr is then for errors only.
func (a *app) say(format string, args ...any) {
	if !a.json {
		a.tell(format+"\n", args...)
	}
}

// tell writes a text for people to stderr.
func (a *app) tell(format string, args ...any) {
	a.clearLine()
	tell(a.pageFor(a.stderr), a.stderr, format, args...)
}

func tell(p *page, w io.Writer, format string, args ...any) {
	printf(p, format, args...)
	_ = p.sendTo(w)
}

// saved reports where a change was saved, with the daemon's notes about it.
func (a *app) saved(s control.Saved) {
	if s.Pending {
		a.say("Saved on this device only: the backend can't be reached. The change is pushed once it can.")
	}
	a.notices(s.Notices)
}

func (a *app) notices(notices []string) {
	for _, n := range notices {
		a.say("%s", n)
	}
}

// printf writes text for people; nothing else does. Strings in args may be
// untrusted: printf makes each a single line of printable characters, so that it
// can't send control sequences to a terminal or pass for a line of Vigil's own.
func printf(w io.Writer, format string, args ...any) {
	for i, arg := range args {
		switch v := arg.(type) {
		case painted:
			args[i] = v.in(w, printable.Line(v.text))
		case error:
			args[i] = printable.Line(v.Error())
		case fmt.Stringer:
			args[i] = printable.Line(v.String())
		default:
			if text := reflect.ValueOf(arg); text.Kind() == reflect.String {
				args[i] = printable.Line(text.String())
			}
		}
	}
	fmt.Fprintf(w, format, args...)
}

// printKeyLine prints one key, and its problem if it has one.
func (a *app) printKeyLine(w io.Writer, indent string, k control.Key) {
	printf(w, "%s%s\n", indent, a.keyLine(k))
	if k.Problem != "" {
		printf(w, "%s    %s\n", indent, k.Problem)
	}
}

// keyLine returns a key as ssh-add -l shows it, with its name and state, and its
// vault if the daemon serves several.
func (a *app) keyLine(k control.Key) string {
	var notes []string
	switch {
	case k.Vault == "":
		notes = append(notes, "added")
	case a.several:
		notes = append(notes, "vault "+k.Vault)
	}
	if k.State != control.KeyUsable {
		notes = append(notes, strings.ReplaceAll(string(k.State), "_", " "))
	}
	if k.Confirm {
		notes = append(notes, "confirm")
	}
	if k.Approve != "" {
		notes = append(notes, "approve "+k.Approve)
	}
	if k.AllowSHA1 {
		notes = append(notes, "SHA-1 allowed")
	}
	if len(k.Destinations) > 0 {
		notes = append(notes, "restricted")
	}
	if k.Heads > 1 {
		notes = append(notes, fmt.Sprintf("edited on %d devices", k.Heads))
	}
	if k.CertificateExpired() {
		notes = append(notes, "certificate expired "+stamp(*k.ValidUntil))
	}
	if k.Expires != nil {
		notes = append(notes, "until "+stamp(*k.Expires))
	}
	if len(notes) == 0 {
		return plainKeyLine(k)
	}
	return plainKeyLine(k) + "  [" + strings.Join(notes, ", ") + "]"
}

// plainKeyLine returns a key as ssh-add -l shows it.
func plainKeyLine(k control.Key) string {
	return fmt.Sprintf("%d %s %s (%s)", k.Bits, k.Fingerprint, keyLabel(k), typeName(k))
}

// keyLabel returns a key's name, with its comment if that adds something.
func keyLabel(k control.Key) string {
	switch {
	case k.Name == "":
		return k.Comment
	case k.Comment == "" || k.Comment == k.Name:
		return k.Name
	}
	return k.Name + " " + k.Comment
}

// typeName returns a key's type as ssh-add -l names it.
func typeName(k control.Key) string {
	name, certificate := strings.CutSuffix(k.Type, "-cert-v01@openssh.com")
	if !certificate {
		name, certificate = strings.CutSuffix(k.Type, "-cert") // registered names end like this
	}
	var short string
	switch name {
	case "ssh-ed25519":
		short = "ED25519"
	case "ssh-rsa":
		short = "RSA"
	case "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521":
		short = "ECDSA"
	case "ssh-mldsa44-ed25519", "ssh-mldsa44-ed25519@openssh.com": // since OpenSSH 10.6, and before
		short = "MLDSA44-ED25519"
	case "sk-ssh-ed25519", "sk-ssh-ed25519@openssh.com":
		short = "ED25519-SK"
	case "sk-ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com":
		short = "ECDSA-SK"
	default:
		return k.Type
	}
	if certificate || k.Certificate != "" {
		short += "-CERT"
	}
	return short
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
