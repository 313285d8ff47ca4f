//go:build !linux

package doctor

import (
	"vigil/internal/checkup"
	"vigil/internal/guard"
)

// kernel reports the features that this system lacks.
func kernel(guard.Kind) []checkup.Check {
	return []checkup.Check{checkup.Warning("sandbox", "Nothing to do: docs/threat-model.md says what is weaker here.",
		"this system has neither memfd_secret, Landlock nor seccomp: keys are in locked memory of an ordinary process")}
}
