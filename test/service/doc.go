// Package service installs Vigil as a package would, and has a real systemd user manager
// start it: by its sockets, under the limits and filters of its unit. It holds tests only,
// which need root to make the manager's surroundings, and skip without.
package service
