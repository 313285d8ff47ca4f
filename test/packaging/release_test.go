package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestBillOfMaterials: it names each module of each program as the table of
// docs/dependencies.md does, which TestLinkedModules holds to the tree.
func TestBillOfMaterials(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(release, "vigil-linux-"+runtime.GOARCH+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		SpecVersion string
		Components  []struct {
			Ref     string `json:"bom-ref"`
			Name    string
			Version string
			Type    string
			Hashes  []struct{ Content string }
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	module := map[string]string{} // reference → path
	for _, c := range bom.Components {
		if c.Version == "" || (c.Type == "application" && len(c.Hashes) == 0) {
			t.Errorf("%s lacks its version or hash: %+v", c.Name, c)
		}
		module[c.Ref] = c.Name
	}
	var got []string
	for _, d := range bom.Dependencies {
		for _, ref := range d.DependsOn {
			if module[ref] == "" {
				t.Errorf("%s depends on %s, which is no component", d.Ref, ref)
			} else if module[ref] != "std" {
				got = append(got, strings.TrimPrefix(d.Ref, "program/")+" "+module[ref])
			}
		}
	}
	document, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "\n## Linked\n")
	var want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\|$").FindAllStringSubmatch(table, -1) {
		if strings.HasSuffix(row[3], "macOS") {
			continue
		}
		for _, program := range strings.Split(row[2], ", ") {
			want = append(want, program+" "+row[1])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 40 || !slices.Equal(got, want) {
		t.Errorf("it says\n%s\ndocs/dependencies.md says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestChecksums: they are of every file, and docs/release.md's commands accept them, and
// nothing else than what the key signed for this purpose.
func TestChecksums(t *testing.T) {
	public, err := os.ReadFile(filepath.Dir(filepath.Dir(release)) + ".key.pub")
	if err != nil {
		t.Fatal(err)
	}
	signers := filepath.Join(t.TempDir(), "allowed_signers")
	line := fmt.Sprintf("release@vigil namespaces=\"release@vigil\" %s", public)
	if err := os.WriteFile(signers, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, `cd "$1" && sha256sum --strict -c SHA256SUMS && [ "$(wc -l <SHA256SUMS)" = $(($(ls | wc -l) - 2)) ]`, release)
	const verify = `cd "$1" && ssh-keygen -Y verify -f "$2" -I release@vigil -n "$3" -s SHA256SUMS.sig`
	output(t, verify+` <SHA256SUMS`, release, signers, "release@vigil")
	for name, script := range map[string]string{
		"another purpose": `! { ` + verify + ` <SHA256SUMS; } 2>/dev/null`,
		"another text":    `! { ` + verify + ` <<<altered; } 2>/dev/null`,
	} {
		namespace := "release@vigil"
		if name == "another purpose" {
			namespace = "file"
		}
		output(t, script, release, signers, namespace)
	}
}
