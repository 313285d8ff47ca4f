// Package architecture holds the tree's import edges by tests: what each binary
// and package may not link, each with the reason. docs/architecture.md draws them;
// that it and the other documents name what there is, is held here too.
package architecture
