// Package buildid names the build a binary belongs to.
//
// vigild, vigil-opener and vigilctl are built together and use a private protocol,
// so the first message of each names its build: different builds refuse to work
// together instead of misreading each other.
package buildid

import "runtime/debug"

// Both are set by the Makefile with -ldflags -X and never written at run time.
var (
	id      string // a hash over the sources the binaries are built from
	version string // git describe
)

// ID returns the id of this build: the first 16 hex digits of a SHA-256 over the
// sources, the same in every binary of one `make build`. In a binary built without
// the Makefile, it is the commit that the toolchain recorded, or "unknown" if there
// is none (as in tests).
func ID() string {
	if id != "" {
		return id
	}
	return setting("vcs.revision", "unknown")
}

// Version returns the version to show to people: a tag, or the commit and its
// distance from one. Programs compare ID, not Version.
func Version() string {
	if version != "" {
		return version
	}
	return setting("vcs.revision", "devel")
}

func setting(key, otherwise string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return otherwise
	}
	for _, s := range info.Settings {
		if s.Key == key && s.Value != "" {
			return s.Value
		}
	}
	return otherwise
}
