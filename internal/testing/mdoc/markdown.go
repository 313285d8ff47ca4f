package mdoc

import (
	"fmt"
	"regexp"
	"strings"
)

var link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)

// Markdown writes a document of docs/, without its title: headings, paragraphs, lists,
// blocks of code, and tables whose rows begin with a key. Links become their text.
func (p *Page) Markdown(text string) error {
	text = link.ReplaceAllString(text, "$1")
	_, text, ok := strings.Cut(text, "\n")
	if !ok {
		return fmt.Errorf("document of one line")
	}
	paragraph := false // the last block was one
	for _, block := range blocks(text) {
		first := block[0]
		switch {
		case strings.HasPrefix(first, "## "):
			p.Heading("Sh", strings.ToUpper(first[3:]))
			paragraph = false
			continue
		case strings.HasPrefix(first, "```"):
			p.Literal(block[1 : len(block)-1])
			paragraph = false
			continue
		case strings.HasPrefix(first, "| "):
			p.table(block)
		case strings.HasPrefix(first, "- "):
			p.bullets(block)
		case strings.HasPrefix(first, "#"), strings.HasPrefix(first, ">"), strings.HasPrefix(first, "1."):
			return fmt.Errorf("a form of Markdown that isn't known here: %s", first)
		default:
			if paragraph {
				p.Macro("Pp")
			}
			p.sentences(strings.Join(block, " "))
		}
		paragraph = true
	}
	return nil
}

// blocks splits a document at its empty lines, except for those in code.
func blocks(text string) (all [][]string) {
	var block []string
	fenced := false
	for l := range strings.Lines(text + "\n") {
		l = strings.TrimSuffix(l, "\n")
		if strings.HasPrefix(l, "```") {
			fenced = !fenced
		}
		if l != "" || fenced {
			block = append(block, l)
		} else if block != nil {
			all = append(all, block)
			block = nil
		}
	}
	return all
}

// table makes each row, after head and rule, an item: its key, its default, its text.
func (p *Page) table(rows []string) {
	p.Macro("Bl", "-tag", "-width", "Ds")
	for _, row := range rows[2:] {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		p.Macro("It", "Cm", Argument(strings.Trim(cells[0], "`")))
		if len(cells) == 3 {
			p.sentences("Default: " + strings.TrimSuffix(cells[1], ".") + ".")
		}
		p.sentences(cells[len(cells)-1])
	}
	p.Macro("El")
}

func (p *Page) bullets(lines []string) {
	p.Macro("Bl", "-bullet")
	for _, item := range strings.Split(strings.Join(lines, "\n"), "\n- ") {
		p.Macro("It")
		p.sentences(strings.Join(strings.Fields(strings.TrimPrefix(item, "- ")), " "))
	}
	p.Macro("El")
}
