// Package clients has SSH clients that nobody here wrote log in with keys of OpenSSH's
// agent and of Vigil: where the one lets a client in, the other must. It holds tests
// only. `make test-clients` installs the clients and runs them; without that, the tests
// are skipped.
package clients
