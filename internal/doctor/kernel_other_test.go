//go:build !linux

package doctor

import (
	"testing"

	"vigil/internal/checkup"
)

func TestSystemWithoutASandbox(t *testing.T) {
	got := kernel("")
	const (
		detail = "this system has neither memfd_secret, Landlock nor seccomp: keys are in locked memory of an ordinary process"
		next   = "Nothing to do: docs/threat-model.md " + "says what is weaker here."
	)
	if len(got) != 1 || got[0].Result != checkup.Warn || got[0].Detail != detail || got[0].Next != next {
		t.Errorf("%+v", got)
	}
}
