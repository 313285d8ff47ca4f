//go:build !linux

package doctor

import "vigil/internal/checkup"

// kernel says what this system doesn't offer.
func kernel() []checkup.Check {
	return []checkup.Check{checkup.Warning("sandbox", "Nothing to do: docs/threat-model.md says what is weaker here.",
		"this system has neither memfd_secret, Landlock nor seccomp: keys lie in locked memory of an ordinary process")}
}
