// Package hardening attacks running processes of Vigil as the user they belong
// to: with a debugger, through /proc, and by stopping the front while a
// deadline passes. The tests run as an unprivileged user, also when root starts
// them, because root may do all of it.
package hardening
