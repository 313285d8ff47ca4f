// Package logind runs the binaries beside a real systemd-logind, on a system bus of its own,
// in namespaces that end with the test. Only systemd's manager isn't real: it is the test,
// which looks at Vigil's processes when logind has it put the machine to sleep.
package logind
