// Package packaging builds the packages of Linux distributions, opens them with the
// distributions' own tools, and installs one in a throw-away root, where a real systemd user
// manager starts it. It holds tests only. `make test-packages` installs the tools and runs
// them; without that, the tests are skipped.
package packaging
