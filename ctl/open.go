package main

import (
	"os"
	"regexp"
	"strconv"

	"vigil/internal/durable"
)

// descriptorPath is what shells call a pipe that they have open: <(command).
var descriptorPath = regexp.MustCompile(`^/(?:dev|proc/self)/fd/([0-9]{1,5})$`)

// openFile opens a file that a command line names, or one that was found. A pipe or
// a device in its place would keep the command from ending, however it got there:
// these are taken as standard input or as an open descriptor only.
func (a *app) openFile(path string) (*os.File, error) {
	if path == "-" || path == "/dev/stdin" {
		return duplicate(int(a.stdin.Fd()), "standard input")
	}
	if m := descriptorPath.FindStringSubmatch(path); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, err
		}
		return duplicate(n, path)
	}
	return durable.OpenRegular(path)
}
