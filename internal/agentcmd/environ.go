package agentcmd

import (
	"slices"
	"strings"
)

// find returns a variable of an environment in the form of os.Environ, the
// first of that name, as getenv(3) does, and whether it's there.
func find(environ []string, name string) (value string, ok bool) {
	for _, setting := range environ {
		if value, ok := strings.CutPrefix(setting, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// lookup is find for those to whom empty and missing are the same.
func lookup(environ []string, name string) string {
	value, _ := find(environ, name)
	return value
}

// without returns the environment less some variables.
func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(setting string) bool {
		name, _, _ := strings.Cut(setting, "=")
		return slices.Contains(names, name)
	})
}
