package mdoc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vigil/internal/testing/mdoc"
)

const root = "../../.."

// TestText: what a formatter would take for its own, or make prettier, arrives as it is.
func TestText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"sentences", "One. Two: `x -y`. E.g. three", "One.\nTwo: \\fBx \\-y\\fP.\nE.g. three\n"},
		{"paragraphs", "One\n\nTwo", "One\n.Pp\nTwo\n"},
		{"a line that looks like a request", ".ssh's", "\\&.ssh\\(aqs\n"},
		{"a backslash", `a\nb`, "a\\enb\n"},
		{"lines as they are", "One:\n\n  $ a ~/b\n    c", "One:\n.Bd -literal -offset indent\n$ a \\(ti/b\n  c\n.Ed\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &mdoc.Page{}
			p.Text(c.text)
			if got := p.String(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestMarkdown(t *testing.T) {
	p := &mdoc.Page{}
	err := p.Markdown("# Title\n\nSee [this](that.md).\n\n## Keys\n\n| key | default | |\n|---|---|---|\n| `Ar` | `\"x\"` | Text. |\n\n" +
		"- one\n  goes on\n- two\n\nEnd\n\n```toml\na = 1\n\nb = 2\n```\n")
	want := "See this.\n.Sh KEYS\n.Bl -tag -width Ds\n.It Cm \\&Ar\nDefault: \\fB\"x\"\\fP.\nText.\n.El\n" +
		".Bl -bullet\n.It\none goes on\n.It\ntwo\n.El\n.Pp\nEnd\n.Bd -literal -offset indent\na = 1\n\nb = 2\n.Ed\n"
	if got := p.String(); err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	if err := p.Markdown("# Title\n\n> quoted\n"); err == nil {
		t.Error("a form that isn't known passes")
	}
}

// TestPages: manual formatters and indexers find nothing to say about any page, and pages
// name no page of Vigil that is not there.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob(root + "/packaging/man/*.[1-8]")
	if err != nil || len(pages) != 4 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	ours := regexp.MustCompile(`(?m)^\.Xr (vigil\S*) (\d)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ours.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, "packaging/man", m[1]+"."+m[2])); err != nil {
				t.Errorf("%s names %s(%s): %v", page, m[1], m[2], err)
			}
		}
		if out := tool(t, "mandoc", "-T", "lint", "-W", "warning", page); out != "" {
			t.Errorf("mandoc says:\n%s", out)
		}
		name, _, _ := strings.Cut(filepath.Base(page), ".")
		if out := tool(t, "lexgrog", page); !strings.Contains(out, `"`+name+" - ") {
			t.Errorf("lexgrog says: %s", out)
		}
	}
}

// tool returns what a program prints; it skips the test where the program is missing.
func tool(t *testing.T, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%v (make deps)", err)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatalf("%s: %v", program, err)
	}
	return string(out)
}
