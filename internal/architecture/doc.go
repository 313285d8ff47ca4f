// Package architecture holds the tree's import edges by tests: what each binary
// and package may not link, each with the reason. docs/architecture.md draws them.
package architecture
