package agentcmd

import (
	"slices"
	"strings"
)

// find returns the first variable of a name in an environment in the form of
// os.Environ, as getenv(3) does, and whether it is set.
func find(environ []string, name string) (value string, ok bool) {
	for _, setting := range environ {
		if value, ok := strings.CutPrefix(setting, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// lookup is like find, but returns "" for a missing variable.
func lookup(environ []string, name string) string {
	value, _ := find(environ, name)
	return value
}

// without returns the environment without some variables.
func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(setting string) bool {
		name, _, _ := strings.Cut(setting, "=")
		return slices.Contains(names, name)
	})
}
