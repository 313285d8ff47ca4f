// Package mdoc writes manual pages in mdoc(7): text, lists and examples, from strings or
// from the Markdown of docs/. The pages in packaging/man that it writes are checked in,
// so installing them needs nothing but a copy.
package mdoc

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// date is that of the pages. A page that changed may keep it: no reader depends on it, and
// a clock would make two builds differ.
const date = "November 27, 2026"

// Page is a page under construction.
type Page struct{ b strings.Builder }

// New begins a page: its head, and its name with what it is about, as whatis(1) shows it.
func New(name, section, about string) *Page {
	p := &Page{}
	p.b.WriteString(`.\" Written by a test from its source: see docs/architecture.md.` + "\n")
	p.Macro("Dd", date)
	p.Macro("Dt", strings.ToUpper(name), section)
	p.Macro("Os")
	p.Macro("Sh", "NAME")
	p.Macro("Nm", name)
	p.Macro("Nd", about)
	return p
}

// Macro writes a line of a macro, whose words it may call: "Fl", "Ar", "Cm" and the like.
func (p *Page) Macro(words ...string) {
	p.b.WriteString("." + strings.Join(words, " ") + "\n")
}

// Heading begins a section (Sh) or subsection (Ss). None of its words is a macro.
func (p *Page) Heading(depth, title string) { p.Macro(depth, Argument(title)) }

// Text writes a text: each sentence on a line of its own, a macro between paragraphs, and
// indented lines as they are.
func (p *Page) Text(text string) {
	between := false
	for _, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		lines := strings.Split(paragraph, "\n")
		if strings.HasPrefix(lines[0], " ") {
			p.Literal(lines)
			between = false
			continue
		}
		if between {
			p.Macro("Pp")
		}
		between = true
		p.sentences(strings.Join(lines, " "))
	}
}

var sentenceEnd = regexp.MustCompile(`([.?!:][)"]?) +([A-Z"(])`)

func (p *Page) sentences(text string) {
	for _, sentence := range strings.Split(sentenceEnd.ReplaceAllString(text, "$1\n$2"), "\n") {
		p.b.WriteString(line(inline(sentence)) + "\n")
	}
}

// Literal writes lines as they are, indented once.
func (p *Page) Literal(lines []string) {
	p.Macro("Bd", "-literal", "-offset", "indent")
	for _, l := range lines {
		p.b.WriteString(line(escape(strings.TrimPrefix(l, "  "))) + "\n")
	}
	p.Macro("Ed")
}

// String returns the page.
func (p *Page) String() string { return p.b.String() }

var code = regexp.MustCompile("`([^`]+)`")

// inline escapes a text, and makes what it quotes with backquotes bold.
func inline(text string) string {
	var b strings.Builder
	end := 0
	for _, at := range code.FindAllStringSubmatchIndex(text, -1) {
		b.WriteString(escape(text[end:at[0]]) + `\fB` + escape(text[at[2]:at[3]]) + `\fP`)
		end = at[1]
	}
	b.WriteString(escape(text[end:]))
	return b.String()
}

var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "'", `\(aq`)

// escape keeps what can be copied from a page as it is: formatters replace plain hyphens,
// quotes and accents by prettier ones.
func escape(text string) string { return special.Replace(text) }

// line protects a line that would begin with a request.
func line(text string) string {
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}

// macro is what may be the name of one.
var macro = regexp.MustCompile(`\b([A-Z][a-z0-9]{1,2})\b`)

// Argument returns a text as arguments of a macro that calls none.
func Argument(text string) string {
	return strings.ReplaceAll(macro.ReplaceAllString(escape(text), `\&$1`), `"`, `\(dq`)
}

var update = flag.Bool("update-man", false, "rewrite the manual pages in packaging/man")

// Check compares a page with the file of packaging/man in the tree at root, which
// -update-man rewrites.
func Check(t *testing.T, root, file string, page *Page) {
	t.Helper()
	path := filepath.Join(root, "packaging/man", file)
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(was) != page.String() {
		t.Errorf("%s isn't what its source says (make man rewrites it)", path)
	}
}
