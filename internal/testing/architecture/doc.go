// Package architecture tests the tree's import edges: what each binary and package
// may not link, with the reasons. docs/architecture.md draws them. It also tests that
// the documents name only what exists.
package architecture
