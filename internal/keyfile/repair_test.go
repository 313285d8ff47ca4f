package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"
)

// accidents are what happens to a key file's text that is copied and pasted, and has
// still only one meaning.
var accidents = map[string]func(string) string{
	"indented":                  eachLine(func(s string) string { return "    " + s }),
	"indented by tabs":          eachLine(func(s string) string { return "\t\t" + s }),
	"indented by no-break":      eachLine(func(s string) string { return "\u00a0\u00a0" + s }),
	"no-break spaces":           replace(" ", "\u00a0"),
	"no-break in Windows-1252":  eachLine(func(s string) string { return "\xa0 " + s }),
	"spaces at the ends":        eachLine(func(s string) string { return s + "  " }),
	"padded by a terminal":      eachLine(func(s string) string { return s + strings.Repeat(" ", max(0, 80-len(s))) }),
	"CR only":                   replace("\n", "\r"),
	"CR LF":                     replace("\n", "\r\n"),
	"CR CR LF":                  replace("\n", "\r\r\n"),
	"line separators":           replace("\n", "\u2028"),
	"double spaced":             replace("\n", "\n\n"),
	"one line, blanks":          replace("\n", " "),
	"one line, LF lost":         onlyPEM(replace("\n", "")),
	"literal \\n":               replace("\n", `\n`),
	"literal \\r\\n":            replace("\n", `\r\n`),
	"literal \\\\n":             replace("\n", `\\n`),
	"literal \\n and LF":        onlyPEM(replace("\n", "\\n\n")),
	"a JSON string":             jsonString,
	"a JSON string, indented":   func(s string) string { return "{\n  \"key\": " + jsonString(s) + "\n}\n" },
	"quoted in a settings file": func(s string) string { return "KEY=\"" + s + "\"\n" },
	"quoted by '":               func(s string) string { return "'" + strings.TrimSpace(s) + "'" },
	"typographic quotes":        onlyPEM(func(s string) string { return "“" + strings.TrimSpace(s) + "”" }),
	"fenced":                    func(s string) string { return "```\n" + s + "```\n" },
	"a quoted mail":             eachLine(func(s string) string { return "> " + s }),
	"quoted twice":              eachLine(func(s string) string { return ">> " + s }),
	"source code":               onlyPEM(eachLine(func(s string) string { return `    "` + s + `\n" +` })),
	"source code, no \\n":       onlyPEM(eachLine(func(s string) string { return `"` + s + `",` })),
	"a shell's continuations":   onlyPEM(replace("\n", "\\\n")),
	"YAML":                      func(s string) string { return "key: |\n" + eachLine(func(l string) string { return "  " + l })(s) },
	"without padding":           eachLine(func(s string) string { return strings.TrimRight(s, "=") }),
	"without an end of line":    func(s string) string { return strings.TrimRight(s, "\r\n") },
	"words behind":              func(s string) string { return s + "Best wishes\n" },
	"words around":              func(s string) string { return "Here is the key:\n\n" + s + "\nBest wishes\n" },
	"base64 of the file":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 of the file, lines": func(s string) string { return wrap(base64.StdEncoding.EncodeToString([]byte(s)), 76) },
	"base64, indented, bare":    func(s string) string { return "  " + wrap(base64.RawStdEncoding.EncodeToString([]byte(s)), 76) },
	"base64 of CR LF":           func(s string) string { return base64.StdEncoding.EncodeToString([]byte(replace("\n", "\r\n")(s))) },
	"broken anew":               onlyPEM(func(s string) string { return rewrap(s, 40) }),
	"broken within lines":       onlyPEM(func(s string) string { return rewrap(s, 7) }),
	"zero width spaces":         onlyPEM(eachLine(func(s string) string { return s + "\u200b" })),
	"a byte order mark":         func(s string) string { return "\ufeff" + s },
	"dashes of a word processor": onlyPEM(func(s string) string {
		return strings.NewReplacer("-----", "—–", "----", "——").Replace(s)
	}),
	"a dash less":            onlyPEM(func(s string) string { return strings.TrimSuffix(strings.TrimSpace(s)[1:], "-") }),
	"UTF-16 from PowerShell": func(s string) string { return utf16Text("\ufeff"+replace("\n", "\r\n")(s), 0) },
	"UTF-16, no mark":        func(s string) string { return utf16Text(s, 0) },
	"UTF-16, big endian":     func(s string) string { return utf16Text("\ufeff"+s, 1) },
}

func replace(old, with string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, old, with) }
}

// eachLine changes every line that has something in it.
func eachLine(change func(string) string) func(string) string {
	return func(s string) string {
		lines := strings.Split(s, "\n")
		for i, l := range lines {
			if l != "" {
				lines[i] = change(l)
			}
		}
		return strings.Join(lines, "\n")
	}
}

// onlyPEM leaves a .ppk alone, which has no one meaning after such a change.
func onlyPEM(change func(string) string) func(string) string {
	return func(s string) string {
		if strings.HasPrefix(s, ppkMagic) {
			return s
		}
		return change(s)
	}
}

func jsonString(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return strings.NewReplacer("+", `\u002b`, "=", `\u003d`, "/", `\/`).Replace(string(b))
}

func wrap(s string, n int) string {
	var b strings.Builder
	for ; len(s) > n; s = s[n:] {
		b.WriteString(s[:n] + "\n")
	}
	return b.String() + s + "\n"
}

// rewrap breaks the longest run of lines without headers anew.
func rewrap(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	first := 1
	for i, l := range lines {
		if strings.Contains(l, ": ") || l == "" {
			first = i + 1
		}
	}
	body := strings.Join(lines[first:len(lines)-1], "")
	return strings.Join(lines[:first], "\n") + "\n" + wrap(body, n) + lines[len(lines)-1] + "\n"
}

func utf16Text(s string, high int) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		pair := []byte{byte(u), byte(u >> 8)}
		b = append(b, pair[high], pair[1-high])
	}
	return string(b)
}

// accidentSeeds has a file of each format, in clear and encrypted.
var accidentSeeds = []string{
	"ed25519.openssh", "p256.openssh", "ed25519.openssh.aes128-ctr", "rsa2048.pem", "p384.pem.aes128", "p384.pem.des3",
	"p256.pem", "edossl.pkcs8", "p521.pkcs8", "edossl.pkcs8.aes-128-cbc", "mldsa106.openssh",
	"ed25519.ppk2", "p256.ppk2.aes", "rsa2048.ppk3", "ed25519.ppk3.argon2id",
}

func TestPasteAccidentsAreUndone(t *testing.T) {
	for _, file := range accidentSeeds {
		f := readFixture(t, file)
		ask := passphrase(fixturePassphrase)
		want := mustParse(t, f.data, ask)
		for name, change := range accidents {
			t.Run(file+"/"+name, func(t *testing.T) {
				data := []byte(change(string(f.data)))
				before := bytes.Clone(data)
				if f.encrypted {
					if _, err := Parse(data, nil); !errors.Is(err, ErrPassphraseNeeded) {
						t.Errorf("without a passphrase: %v", err)
					}
					if strings.HasSuffix(file, "argon2id") && name != "one line, blanks" {
						return // it takes long
					}
					if _, err := Parse(data, passphrase("wrong")); !errors.Is(err, ErrWrongPassphrase) {
						t.Errorf("with a wrong passphrase: %v", err)
					}
				}
				k, err := Parse(data, ask)
				if err != nil {
					t.Fatal(err)
				}
				defer k.Close()
				if !bytes.Equal(k.Encoding(), want.Encoding()) || k.Comment() != want.Comment() {
					t.Error("another key")
				}
				if !bytes.Equal(data, before) {
					t.Error("the caller's bytes have changed")
				}
			})
		}
	}
}

// TestDamageAfterAnAccidentGivesNoOtherKey deletes, doubles and changes characters of
// files that have to be repaired.
func TestDamageAfterAnAccidentGivesNoOtherKey(t *testing.T) {
	for _, file := range []string{"ed25519.openssh", "p256.pem", "p521.pkcs8", "ed25519.ppk2", "p256.ppk3"} {
		f := readFixture(t, file)
		want := mustParse(t, f.data, nil)
		for name, change := range accidents {
			text := change(string(f.data))
			for at := len(name) % 67; at < len(text); at += 67 {
				for _, with := range []string{"", text[at:at+1] + text[at:at+1], "A", " ", "\n", "=", ">", "\\"} {
					wantSameOrError(t, []byte(text[:at]+with+text[at+1:]), want, at)
				}
			}
		}
	}
}

// TestCommentsOfAPPKStayAsTheyAre, because its MAC covers them.
func TestCommentsOfAPPKStayAsTheyAre(t *testing.T) {
	for _, comment := range []string{"", "Alice <alice@example.org>", `C:\new\readme`, `"quoted"`, "a > b", "Encryption: none", "Comment: Public-Lines: 3", "no\u00a0break – dash"} {
		f := readPPK(t, "ed25519.ppk3", comment)
		want := mustParse(t, f, nil)
		for name, change := range map[string]func(string) string{
			"literal \\n": replace("\n", `\n`), "CR": replace("\n", "\r"), "one line": replace("\n", " "),
			"indented": eachLine(func(s string) string { return "  " + s }), "base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		} {
			k, err := Parse([]byte(change(string(f))), nil)
			if err != nil || k.Comment() != want.Comment() {
				t.Errorf("%q, %s: %v", comment, name, err)
				continue
			}
			_ = k.Close()
		}
	}
}

// readPPK returns the unencrypted fixture with another comment.
func readPPK(t *testing.T, file, comment string) []byte {
	t.Helper()
	f, err := readPPKFile(readFixture(t, file).data)
	if err != nil {
		t.Fatal(err)
	}
	old := string(f.comment)
	mac := f.computeMAC(nil)
	f.comment = []byte(comment)
	text := strings.Replace(string(readFixture(t, file).data), "Comment: "+old, "Comment: "+comment, 1)
	return []byte(strings.Replace(text, hex.EncodeToString(mac), hex.EncodeToString(f.computeMAC(nil)), 1))
}

func TestWhatIsWrongWithTheLinesIsSaid(t *testing.T) {
	text := string(readFixture(t, "rsa2048.pem").data)
	ppk := string(readFixture(t, "rsa2048.ppk3").data)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	without := func(i int) string {
		l := append([]string(nil), lines...)
		return strings.Join(append(l[:i], l[i+1:]...), "\n") + "\n"
	}
	with := func(i int, line string) string {
		l := append([]string(nil), lines...)
		l[i] = line
		return strings.Join(l, "\n") + "\n"
	}
	last := len(lines) - 1
	openssh := strings.Split(strings.TrimSpace(string(readFixture(t, "ed25519.openssh").data)), "\n")
	for name, c := range map[string]struct {
		data, want string
		err        error
	}{
		"no BEGIN":             {without(0), "the line with BEGIN is missing", ErrDamaged},
		"no END":               {without(last), "the line with END is missing", ErrDamaged},
		"neither":              {strings.Join(openssh[1:len(openssh)-1], "\n"), "the lines with BEGIN and END are missing", ErrDamaged},
		"cut in the middle":    {text[:len(text)/2], "the line with END is missing", ErrDamaged},
		"another END":          {with(last, "-----END EC PRIVATE KEY-----"), "name different kinds", ErrDamaged},
		"an ellipsis":          {with(7, "..."), "line 8 has a character that is in no key", ErrDamaged},
		"stars":                {with(3, strings.Repeat("*", 64)), "line 4 has a character", ErrDamaged},
		"stars, one line":      {strings.ReplaceAll(with(3, "***"), "\n", " "), "has a character", ErrDamaged},
		"a line is cut":        {with(5, lines[5][:40]), "line 6 isn't as long as the others", ErrDamaged},
		"a character lost":     {with(5, lines[5][1:]), "line 6 isn't as long as the others", ErrDamaged},
		"a line lost":          {without(5), "damaged", ErrDamaged},
		"two keys on one line": {strings.ReplaceAll(text+text, "\n", " "), "more than one private key", ErrMultipleKeys},
		"an end in the middle": {with(4, lines[4][:60]+"===="), "line 6 follows the end of the key", ErrDamaged},
		"characters lost":      {strings.ReplaceAll(with(5, lines[5][3:]), "\n", " "), "a character of the key is missing", ErrDamaged},
		".ppk, a line lost":    {strings.Replace(ppk, strings.Split(ppk, "\n")[6]+"\n", "", 1), "Public-Lines: the text doesn't have the 6 lines", ErrDamaged},
		".ppk, no MAC":         {ppk[:strings.Index(ppk, "Private-MAC")], "the line with Private-MAC is missing", ErrDamaged},
		".ppk, cut":            {ppk[:len(ppk)/2], "is missing", ErrDamaged},
		".ppk, indented, bad":  {strings.ReplaceAll(strings.Replace(ppk, "Private-Lines: 14\n", "Private-Lines: 14\n*", 1), "\n", "\n "), "line 12 has a character", ErrDamaged},
	} {
		k, err := Parse([]byte(c.data), never(t))
		if k != nil || !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestWhatIsNoKeyStaysThat(t *testing.T) {
	for name, data := range map[string]string{
		"nothing": "", "words": "hello world", "a dash": "-", "base64 of words": base64.StdEncoding.EncodeToString([]byte("hello world, this is no key")),
		"zeros": strings.Repeat("\x00", 1000), "UTF-16 words": utf16Text("\ufeffhello", 0), "backslashes": strings.Repeat(`\`, 1000),
	} {
		if k, err := Parse([]byte(data), never(t)); k != nil || !errors.Is(err, ErrNotAKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRepair shows that undoing accidents never changes what a file that can be read
// means: the same verdict, and if it were repaired all the same, the same key or none.
func FuzzRepair(f *testing.F) {
	for _, file := range accidentSeeds {
		data := readFixture(f, file).data
		f.Add(data)
		for _, name := range []string{"indented", "one line, blanks", "literal \\n", "a JSON string", "source code", "base64 of the file", "UTF-16 from PowerShell"} {
			f.Add([]byte(accidents[name](string(data))))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > MaxFile {
			return
		}
		asked := false
		ask := func() ([]byte, error) { asked = true; return nil, errNobody }
		k, err := Parse(data, ask)
		if err == nil {
			defer k.Close()
		}
		if asked && !errors.Is(err, errNobody) || err != nil && !asked && !known(err) {
			t.Fatalf("error %v", err)
		}
		asIs, errAsIs := parseText(data, ask)
		if errAsIs == nil {
			defer asIs.Close()
			if err != nil || !bytes.Equal(k.Encoding(), asIs.Encoding()) {
				t.Fatalf("repairing changed the verdict to %v", err)
			}
		}
		r, errRepair := repair(data)
		if errAsIs != nil || errRepair != nil || r == nil {
			return
		}
		if again, err := parseText(r.text, ask); err == nil {
			defer again.Close()
			if !bytes.Equal(again.Encoding(), asIs.Encoding()) {
				t.Fatal("repairing makes another key")
			}
		}
	})
}
