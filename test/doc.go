// Package test drives the real binaries with real ssh, ssh-add, ssh-keygen, scp,
// git and sshd, and holds the tree's import edges.
//
// testdata/agent has what any ssh agent does. It runs three times: against
// OpenSSH's ssh-agent, which shows that the scripts are right; against vigild
// with keys that ssh-add brought; and against vigild with keys of a vault.
// testdata/vault has what only Vigil does. Commands that scripts have beyond
// testscript's own are in commands_test.go, with the comments that explain them.
package test
