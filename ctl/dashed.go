package main

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vigil/internal/control"
)

var (
	// dashedID is an id that looks like a flag, or its beginning. Vigil makes no such
	// id, but others may. With two dashes, only a complete id counts.
	dashedID = regexp.MustCompile(`^-(?:[A-Za-z0-9_][A-Za-z0-9_-]{2,20}|-[A-Za-z0-9_-]{20})$`)
	// idArgument matches the names of arguments that can be an id.
	idArgument = regexp.MustCompile(`\b(?:KEY|IDENTITY)\b`)
)

// markIDs moves ids that look like flags after "--", along with all other arguments
// that aren't flags, in order, if the command takes an id.
func markIDs(root *cobra.Command, args []string) []string {
	cmd, rest, err := root.Find(args)
	if err != nil || !idArgument.MatchString(cmd.Use) {
		return args
	}
	cmd.InitDefaultHelpFlag()
	var flags, arguments []string
	marked := false
	for i := 0; i < len(rest); i++ {
		arg := rest[i]
		name, _, valued := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := cmd.Flag(name)
		switch {
		case arg == "--":
			arguments = append(arguments, rest[i+1:]...)
			i = len(rest)
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			arguments = append(arguments, arg)
		case flag == nil && dashedID.MatchString(arg):
			arguments = append(arguments, arg)
			marked = true
		default:
			flags = append(flags, arg)
			if flag != nil && !valued && flag.NoOptDefVal == "" && i+1 < len(rest) {
				i++
				flags = append(flags, rest[i])
			}
		}
	}
	if !marked {
		return args
	}
	return slices.Concat(strings.Fields(cmd.CommandPath())[1:], flags, []string{"--"}, arguments)
}

// flagError returns the error for a command line with a wrong flag.
func flagError(cmd *cobra.Command, err error) error {
	next := "`" + cmd.CommandPath() + " --help` shows how."
	if idArgument.MatchString(cmd.Use) {
		next += " A name that begins with \"-\" goes behind \"--\"."
	}
	message := err.Error()
	var number *strconv.NumError
	if errors.As(err, &number) {
		message = strings.Replace(message, number.Error(), "not a whole number in range", 1)
	}
	return control.Errorf(control.CodeUsage, next, "%s", message)
}
