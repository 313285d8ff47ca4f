// Package table holds what the tables of several benches need beside their
// figures: the machine that they were taken on, and the place in a document
// where they belong.
package table

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Processor is the machine's, by the name that it has for people; where the
// system doesn't tell, the architecture's.
func Processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// WriteInto replaces what the document at path has between the marks of a
// bench, "<!-- BENCH: begin -->" and "<!-- BENCH: end -->".
func WriteInto(path, bench, table string) error {
	begin, end := "<!-- "+bench+": begin -->\n", "<!-- "+bench+": end -->"
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	if !ok {
		return fmt.Errorf("%s has no line %q", path, strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return fmt.Errorf("%s has no line %q", path, end)
	}
	return os.WriteFile(path, []byte(before+begin+table+end+after), 0o644)
}
