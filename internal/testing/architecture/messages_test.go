package architecture

import (
	"cmp"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "rewrite docs/messages.md")

const messagesDocument = "docs/messages.md"

// maxUnnamed is how many messages no test names. It may only fall.
const maxUnnamed = 0

const messagesHead = `# Messages and what to do

Every message of Vigil that has a line about what to do next, made from the source by
` + "`go test ./internal/testing/architecture -run TestMessages -update`" + `. "…" stands for a name, a path or another message. Rows
without a message are advice for several: the cause is in the message above it. A test names the words of each row
marked with its file; rows without one are not exercised by name.

| from | message | what to do | test |
|---|---|---|---|
`

// advice is a message and what it says to do next.
type advice struct{ from, message, next string }

// TestMessages: docs/messages.md has every message with a next line, and no more of them
// than maxUnnamed are without a test that has their words.
func TestMessages(t *testing.T) {
	tests := testTexts(t)
	all := allAdvice(t)
	if len(all) < 150 {
		t.Fatalf("found %d messages", len(all))
	}
	var b strings.Builder
	b.WriteString(messagesHead)
	unnamed := 0
	for _, m := range all {
		in := named(m, tests)
		if in == "" {
			unnamed++
		} else {
			in = "`" + in + "`"
		}
		escape := strings.NewReplacer("|", `\|`, "\n", " ")
		b.WriteString("| `" + m.from + "` | " + escape.Replace(m.message) + " | " + escape.Replace(m.next) + " | " + in + " |\n")
	}
	t.Logf("%d messages, %d of them named by no test", len(all), unnamed)
	if unnamed > maxUnnamed {
		t.Errorf("%d messages are named by no test, at most %d may be: test what was added", unnamed, maxUnnamed)
	}
	path := filepath.Join(root, messagesDocument)
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, path) != b.String() {
		t.Errorf("%s isn't what the source says: run this test with -update", messagesDocument)
	}
}

// allAdvice returns every message with a next line in the product's source, in order.
func allAdvice(t *testing.T) (all []advice) {
	sentinels := map[string]string{}
	walk(t, func(path string) {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		product := strings.HasPrefix(name, "ctl/") || strings.HasPrefix(name, "agentd/") || strings.HasPrefix(name, "internal/")
		if !product || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "internal/testing/") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sentinel.FindAllStringSubmatch(read(t, path), -1) {
			sentinels[filepath.Base(filepath.Dir(name))+"."+s[1]] = verb.ReplaceAllString(s[2], "…")
		}
		for _, m := range adviceIn(f) {
			m.from = filepath.Dir(name)
			if strings.Trim(m.next, "…") != "" && !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
	})
	for i, m := range all {
		if text, ok := sentinels[m.message]; ok {
			all[i].message = text
		}
	}
	slices.SortStableFunc(all, func(a, b advice) int { return strings.Compare(a.from, b.from) })
	return all
}

// adviceIn returns the messages of one file: calls that take a next line, literals and
// assignments of a field Next, and constants and functions named next….
func adviceIn(f *ast.File) (found []advice) {
	add := func(message string, next ast.Expr) { found = append(found, advice{message: message, next: text(next)}) }
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := nameOf(n.Fun)
			if last := len(n.Args) - 1; name == "misconfigured" && last > 1 {
				add(text(n.Args[last-1]), n.Args[last])
			}
			if len(n.Args) >= 3 && (name == "Errorf" || name == "Failure" || name == "Warning") {
				add(text(n.Args[2]), n.Args[1])
			}
		case *ast.CompositeLit:
			var message string
			var next ast.Expr
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					switch nameOf(kv.Key) {
					case "Message", "Reason", "Problem", "Err":
						message = text(kv.Value)
					case "Next", "next":
						next = kv.Value
					}
				}
			}
			if next != nil {
				add(message, next)
			}
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if strings.ToLower(nameOf(to)) == "next" && len(n.Rhs) == len(n.Lhs) && isText(n.Rhs[i]) {
					add("", n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if strings.HasPrefix(strings.ToLower(name.Name), "next") && len(n.Values) > i {
					add("", n.Values[i])
				}
				if (name.Name == "causes" || name.Name == "kinds") && len(n.Values) > i { // tables: the last member is what to do
					for _, row := range n.Values[i].(*ast.CompositeLit).Elts {
						if row, ok := row.(*ast.CompositeLit); ok && len(row.Elts) > 1 {
							add(qualified(row.Elts[0]), row.Elts[len(row.Elts)-1])
						}
					}
				}
			}
		case *ast.FuncDecl:
			if strings.HasPrefix(strings.ToLower(n.Name.Name), "next") && n.Body != nil {
				ast.Inspect(n.Body, func(n ast.Node) bool {
					if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
						add("", r.Results[0])
					}
					return true
				})
			}
		}
		return true
	})
	return found
}

// sentinel matches the declaration of an error value with its text.
var sentinel = regexp.MustCompile(`(?m)^\s*(?:var )?(\w+)\s+= (?:errors\.New|fmt\.Errorf)\("([^"]*)"`)

// qualified returns a name with its package's.
func qualified(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return nameOf(s.X) + "." + s.Sel.Name
	}
	return nameOf(e)
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// isText reports whether an expression says anything that is known before it runs.
func isText(e ast.Expr) bool { return strings.ContainsFunc(text(e), unicode.IsLetter) }

var verb = regexp.MustCompile(`%[-+# 0-9.*]*[a-zA-Z]`)

// text returns what an expression says, with … for what is known only when it runs.
func text(e ast.Expr) string {
	const unknown = "…"
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			return unknown
		}
		return verb.ReplaceAllString(s, unknown)
	case *ast.BinaryExpr:
		return text(e.X) + text(e.Y)
	case *ast.CallExpr:
		switch nameOf(e.Fun) {
		case "Sprintf", "Errorf", "New":
			return text(e.Args[0])
		case "Or": // what the system's error asks for, or else this
			return text(e.Args[len(e.Args)-1])
		case "TrimSpace":
			return text(e.Args[0])
		}
	}
	return unknown
}

// testTexts returns the text of each test, by its file.
func testTexts(t *testing.T) map[string]string {
	texts := map[string]string{}
	walk(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".txtar") && filepath.Ext(path) != ".sh" || strings.HasSuffix(path, "messages_test.go") {
			return
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = strings.ReplaceAll(read(t, path), "''", "'")
	})
	return texts
}

// common begins many advices and tells none apart.
const common = "Nothing was changed."

// named returns a test that has words of the message or of the advice, one after
// another: four, or a whole part of three. If no part has three, it has the longest
// one. That it triggers the message is for its reader to see.
func named(m advice, tests map[string]string) string {
	const usual, least = 4, 3
	var phrases []string
	longest := ""
	for _, from := range []string{m.message, strings.TrimSuffix(strings.TrimPrefix(m.next, common), common)} {
		for part := range strings.SplitSeq(from, "…") {
			words := strings.Fields(part)
			window := max(least, min(usual, len(words)))
			for i := 0; i+window <= len(words); i++ {
				phrases = append(phrases, strings.Join(words[i:i+window], " "))
			}
			if len(part) > len(longest) {
				longest = part
			}
		}
	}
	if len(phrases) == 0 {
		phrases = []string{cmp.Or(strings.TrimSpace(longest), common)}
	}
	for _, phrase := range phrases {
		for _, file := range slices.Sorted(maps.Keys(tests)) {
			if causes(file, m.from) && strings.Contains(tests[file], phrase) {
				return file
			}
		}
	}
	return ""
}

// causes reports whether a test may cause the messages of a package: those of vigilctl
// have a daemon that is made up, and what it says shows nothing of the real one's.
func causes(file, from string) bool {
	daemons := slices.Contains([]string{"internal/daemon", "internal/vault", "internal/opener", "internal/opener/job"}, from)
	return !daemons || !strings.HasPrefix(file, "ctl/")
}
