// Package residue looks for secrets where none may be: in the memory of every
// process of Vigil, read from outside as root, and in what a crash leaves.
//
// Its tests make a vault and keys of every type, derive each form that a secret
// takes on its way (forms_linux_test.go for keys, vault_linux_test.go for what
// opens a vault), use the keys under load, and search all readable mappings of
// all processes for any 16 bytes of any form (scan_linux_test.go). Pages of
// memfd_secret(2) can't be read, by root either: that is what they are for.
//
// That the search finds something is shown on processes that hide nothing.
//
// `make residue` runs it, as root; without VIGIL_RESIDUE in the environment the
// tests are skipped.
package residue
