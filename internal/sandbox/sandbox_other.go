//go:build !linux

package sandbox

import "vigil/internal/guard"

// Apply hardens the process (guard.Harden) and reports what this system lacks.
func Apply() (Report, error) {
	_, err := guard.Harden()
	return Report{Missing: []string{"seccomp", "Landlock"}}, err
}
