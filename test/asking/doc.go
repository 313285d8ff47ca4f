// Package asking has the binaries ask for a locked vault's passphrase, by askpass programs
// and pinentries, for real ssh and git.
package asking
