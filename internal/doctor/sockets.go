package doctor

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vigil/internal/checkup"
	"vigil/internal/durable"
	"vigil/internal/paths"
	"vigil/internal/unixsock"
)

// dialTimeout bounds connecting to a socket, which is immediate unless its backlog
// is full.
const dialTimeout = 2 * time.Second

// sockets checks both sockets, and which process serves the agent's; vigilctl itself
// connects to the control socket.
func (p Place) sockets() []checkup.Check {
	const what = "sockets"
	var list []checkup.Check
	for _, path := range []string{p.Paths.AgentSocket(), p.Paths.ControlSocket()} {
		if err := paths.CheckSocket(path); err != nil {
			list = append(list, checkup.Failure(what, "Set XDG_RUNTIME_DIR to a shorter folder.", "%v", err))
			continue
		}
		info, err := os.Lstat(path)
		by, dialErr := "the daemon", error(nil)
		if path == p.Paths.AgentSocket() {
			by, dialErr = servedBy(path)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			list = append(list, checkup.Failure(what, "Start the daemon: vigilctl up.", "there is no %s", path))
		case err != nil:
			list = append(list, checkup.Failure(what, "Check the folders above it: that each is one, its owner and its mode.", "%v", err))
		case info.Mode().Type() != fs.ModeSocket:
			list = append(list, checkup.Failure(what, "Move it away, then start the daemon: vigilctl up.", "%s is not a socket", path))
		case dialErr != nil:
			list = append(list, checkup.Failure(what, "Start the daemon: vigilctl up.", "nobody answers on %s", path))
		default:
			list = append(list, checkup.Fine(what, "%s, served by %s", path, by))
		}
	}
	return list
}

// servedBy connects to a socket and returns the program that serves it.
func servedBy(path string) (string, error) {
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	peer, err := unixsock.PeerOf(conn.(*net.UnixConn))
	if err != nil {
		return "somebody", nil //nolint:nilerr // it is served, but the system doesn't say by which process
	}
	process, err := unixsock.Describe(peer.PID)
	if err != nil {
		return "another process", nil //nolint:nilerr // it is served, but the system doesn't say by which process
	}
	return process.String(), nil
}

// ServedBy returns the program that serves a socket, or "nobody".
func ServedBy(path string) string {
	by, err := servedBy(path)
	if err != nil {
		return "nobody"
	}
	return by
}

// others checks for other SSH agents: in this shell's environment, as IdentityAgent
// in ssh's configuration, and those that start automatically.
func (p Place) others() []checkup.Check {
	list := []checkup.Check{p.environment()}
	if lines := identityAgents(filepath.Join(p.Paths.Home, ".ssh", "config"), p.Paths.AgentSocket()); len(lines) > 0 && p.Paths.Home != "" {
		list = append(list, checkup.Warning("ssh config", "Remove them, or name "+p.Paths.AgentSocket()+" there: ssh asks that agent, whatever "+paths.SocketVariable+" says.",
			"~/.ssh/config names another agent: %s", strings.Join(lines, "; ")))
	}
	var live []string
	for name, path := range p.knownAgents() {
		if path == p.Paths.AgentSocket() {
			continue
		}
		if _, err := servedBy(path); err == nil {
			live = append(live, name+" ("+path+")")
		}
	}
	if len(live) > 0 {
		slices.Sort(live)
		list = append(list, checkup.Warning("other agents", "If a login sets "+paths.SocketVariable+" to one of them, stop it from doing so, or set it in your shell's start-up file: vigilctl env.",
			"other agents run: %s", strings.Join(live, ", ")))
	}
	return list
}

func (p Place) environment() checkup.Check {
	ours, set := p.Paths.AgentSocket(), p.Getenv(paths.SocketVariable)
	next := `Run: eval "$(vigilctl env)", and put it into your shell's start-up file.`
	switch {
	case set == "":
		return checkup.Warning(paths.SocketVariable, next, "not set in this shell: ssh asks no agent")
	case Same(set, ours):
		return checkup.Fine(paths.SocketVariable, "%s", set)
	}
	by, err := servedBy(set)
	if err != nil {
		return checkup.Warning(paths.SocketVariable, next, "leads to %s, where nobody answers", set)
	}
	return checkup.Warning(paths.SocketVariable, next, "leads to %s, served by %s, not to Vigil", set, by)
}

// Same reports whether two paths lead to one file.
func Same(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// knownAgents returns the sockets of agents that desktops and password managers
// start automatically.
func (p Place) knownAgents() map[string]string {
	agents := map[string]string{}
	if dir := p.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		agents["GNOME Keyring"] = filepath.Join(dir, "keyring", "ssh")
		agents["GCR"] = filepath.Join(dir, "gcr", "ssh")
		agents["gpg-agent"] = filepath.Join(dir, "gnupg", "S.gpg-agent.ssh")
		agents["ssh-agent as a service"] = filepath.Join(dir, "ssh-agent.socket")
	}
	if p.Paths.Home != "" {
		agents["1Password"] = filepath.Join(p.Paths.Home, ".1password", "agent.sock")
		agents["Bitwarden"] = filepath.Join(p.Paths.Home, ".bitwarden-ssh-agent.sock")
	}
	return agents
}

// maxSSHConfig is the largest ssh configuration that is read, in bytes.
const maxSSHConfig = 1 << 20

// identityAgents returns the lines of an ssh configuration that name another agent,
// with their numbers. It doesn't read included files.
func identityAgents(path, ours string) (lines []string) {
	text, err := durable.ReadFile(path, maxSSHConfig)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		word, value, _ := strings.Cut(line, " ")
		if key, rest, ok := strings.Cut(word, "="); ok {
			word, value = key, rest
		}
		value = strings.Trim(strings.TrimLeft(value, " \t="), `"`)
		if !strings.EqualFold(word, "IdentityAgent") || value == paths.SocketVariable || value == "$"+paths.SocketVariable || Same(value, ours) {
			continue
		}
		lines = append(lines, line)
	}
	return lines
}
