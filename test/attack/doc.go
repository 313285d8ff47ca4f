// Package attack breaks Vigil's promises, or tries to: as a member who was
// removed, as who keeps the keyring or syncs the vault file, as a program of the
// same user. Each file is one kind of attack on the real binaries, and names the
// promise that it is after (docs/threat-model.md).
package attack
