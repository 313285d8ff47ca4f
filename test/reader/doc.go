// Package reader holds the second reader of the vault format, tools/reader,
// against the test vectors and against vaults that the real binaries made.
package reader
