package main

import (
	"os"
	"regexp"
	"strconv"

	"vigil/internal/durable"
)

// descriptorPath matches the path that shells pass for <(command).
var descriptorPath = regexp.MustCompile(`^/(?:dev|proc/self)/fd/([0-9]{1,5})$`)

// openFile opens a file named on the command line, or one that was found. It
// accepts pipes and devices, on which the command could block forever, only as
// standard input or as an open descriptor.
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
