// Package upgrade tests what happens to a running Vigil when its programs on the disk are
// replaced by those of another build, as a package manager does.
package upgrade
