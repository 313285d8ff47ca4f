package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// showHelp prints a command's help. Its paragraphs are filled to the usual width;
// indented lines stay as they are.
func (a *app) showHelp(c *cobra.Command, _ []string) {
	p := &page{width: usualWidth}
	_, _ = p.Write([]byte(fill(c.Long, usualWidth) + "\n\n" + c.UsageString()))
	_ = p.sendTo(a.stdout)
}

// fill breaks the paragraphs of a text anew.
func fill(text string, columns int) string {
	var b strings.Builder
	used := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == ' ' {
			if used > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(line + "\n")
			used = 0
			continue
		}
		for _, w := range wordsOf(line, columns) {
			switch n := cells(w.text); {
			case used == 0:
				used = n
			case used+1+n > columns:
				b.WriteByte('\n')
				used = n
			default:
				b.WriteByte(' ')
				used += 1 + n
			}
			b.WriteString(w.text)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
