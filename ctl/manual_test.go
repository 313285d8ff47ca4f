package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vigil/internal/testing/mdoc"
)

// TestManual: vigilctl(1) has every command and flag with the text of its help.
func TestManual(t *testing.T) {
	root := (&app{stdin: newBench(t).stdin}).root()
	root.InitDefaultHelpCmd()
	p := mdoc.New("vigilctl", "1", "keep SSH keys in an encrypted vault, and have an agent serve them")
	p.Macro("Sh", "SYNOPSIS")
	p.Macro("Nm")
	p.Macro("Op Fl -json")
	p.Macro("Ar command")
	p.Macro("Op Ar argument ...")
	p.Macro("Sh", "DESCRIPTION")
	about, status, ok := strings.Cut(root.Long, "\n\nExit status: ")
	if !ok {
		t.Fatal("the help has no exit status")
	}
	p.Text(about)
	p.Macro("Pp")
	p.Text("Flags of every command:")
	flags(p, root.PersistentFlags())
	for _, group := range root.Groups() {
		p.Heading("Sh", strings.ToUpper(strings.TrimSuffix(group.Title, ":")))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.Name() != "help" {
				describe(p, c)
			}
		}
	}
	p.Macro("Sh", "EXIT STATUS")
	p.Text(status)
	p.Macro("Sh", "SEE ALSO")
	for _, name := range []string{"ssh 1", "ssh-add 1", "vigil-config 5", "vigil 7"} {
		p.Macro("Xr", name, ",")
	}
	p.Macro("Xr", "vigild", "8")
	mdoc.Check(t, "..", "vigilctl.1", p)
}

// describe writes a command and those below it.
func describe(p *mdoc.Page, c *cobra.Command) {
	p.Heading("Ss", c.CommandPath())
	p.Text("`" + c.UseLine() + "`")
	p.Macro("Pp")
	p.Text(c.Long)
	if len(c.Aliases) > 0 {
		p.Macro("Pp")
		p.Text("Also called `" + strings.Join(c.Aliases, "`, `") + "`.")
	}
	flags(p, c.NonInheritedFlags())
	p.Macro("Pp")
	p.Text("For example:")
	p.Literal(strings.Split(c.Example, "\n"))
	for _, sub := range c.Commands() {
		describe(p, sub)
	}
}

// flags writes a list of flags.
func flags(p *mdoc.Page, set *pflag.FlagSet) {
	var items [][]string
	set.VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		item := "Fl -" + f.Name
		if f.Shorthand != "" {
			item = "Fl " + f.Shorthand + " , " + item
		}
		if value != "" {
			item += " Ar " + mdoc.Argument(value)
		}
		items = append(items, []string{item, usage})
	})
	if len(items) == 0 {
		return
	}
	p.Macro("Bl", "-tag", "-width", "Ds")
	for _, item := range items {
		p.Macro("It", item[0])
		p.Text(item[1])
	}
	p.Macro("El")
}
