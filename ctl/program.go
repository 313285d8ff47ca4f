package main

import (
	"slices"

	"vigil/internal/control"
	"vigil/internal/program"
)

// findProgram returns a program from the PATH, with settings added to its environment.
func (a *app) findProgram(name, install string, settings ...string) (*program.Program, error) {
	p, err := program.Find(name, slices.Concat(a.environ, settings))
	if err != nil {
		return nil, control.Errorf(control.CodeFailed, install, "%s isn't on the PATH", name)
	}
	return p, nil
}
