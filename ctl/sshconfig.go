package main

import (
	"context"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"vigil/internal/control"

	"vigil/internal/paths"
)

// sshConfig is what ssh would use for a host: the lines of `ssh -G`, by keyword.
type sshConfig map[string][]string

// readSSHConfig asks ssh for its configuration, from file if that isn't "". Like a login,
// this runs the commands of Match exec.
func (a *app) readSSHConfig(ctx context.Context, host, file string) (sshConfig, error) {
	ssh, err := a.findProgram("ssh", "Install OpenSSH's client.")
	if err != nil {
		return nil, err
	}
	args := []string{"-G"}
	if file != "" {
		args = append(args, "-F", file)
	}
	out, err := ssh.Run(ctx, append(args, "--", host)...)
	if err != nil {
		return nil, err
	}
	c := sshConfig{}
	for line := range strings.Lines(out) {
		keyword, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		c[keyword] = append(c[keyword], value)
	}
	return c, nil
}

func (c sshConfig) value(keyword string) string {
	if len(c[keyword]) == 0 {
		return ""
	}
	return c[keyword][0]
}

// knownAs is the host's name in known_hosts.
func (c sshConfig) knownAs() string {
	name, port := strings.ToLower(c.value("hostname")), c.value("port")
	switch alias := c.value("hostkeyalias"); {
	case alias != "" && alias != "none":
		return strings.ToLower(alias)
	case port != "22":
		return "[" + name + "]:" + port
	}
	return name
}

// agentSocket returns the socket of the agent that ssh asks, or "" if it asks none. ssh -G
// has expanded it already, except for the name of a variable.
func (c sshConfig) agentSocket(env func(string) string) string {
	switch agent := c.value("identityagent"); {
	case agent == "none":
		return ""
	case agent == "", agent == paths.SocketVariable:
		return env(paths.SocketVariable)
	case strings.HasPrefix(agent, "$"):
		return env(agent[1:])
	default:
		return agent
	}
}

// expand returns the path that an IdentityFile or CertificateFile means. ok is false if it
// has a token that isn't known here. (OpenSSH: load_public_identity_files; ssh_config(5),
// TOKENS. Like ssh, it takes the home folder from the user database.)
func (c sshConfig) expand(path string, env func(string) string) (expanded string, ok bool) {
	me, err := user.Current()
	if err != nil {
		return "", false
	}
	if rest, home := strings.CutPrefix(path, "~/"); home {
		path = filepath.Join(me.HomeDir, rest)
	}
	local, _ := os.Hostname()
	short, _, _ := strings.Cut(local, ".")
	tokens := map[byte]string{
		'%': "%", 'd': me.HomeDir, 'u': me.Username, 'i': me.Uid, 'l': local, 'L': short,
		'h': c.value("hostname"), 'n': c.value("host"), 'p': c.value("port"), 'r': c.value("user"), 'k': c.knownAs(),
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '%' && i+1 < len(path):
			i++
			text, known := tokens[path[i]]
			if !known {
				return "", false
			}
			b.WriteString(text)
		case strings.HasPrefix(path[i:], "${") && strings.Contains(path[i:], "}"):
			name, _, _ := strings.Cut(path[i+2:], "}")
			b.WriteString(env(name))
			i += len(name) + 2
		default:
			b.WriteByte(path[i])
		}
	}
	return b.String(), true
}

// accepts reports whether ssh would use a key of a type and size: PubkeyAcceptedAlgorithms
// and RequiredRSASize. (OpenSSH: key_type_allowed.)
func (c sshConfig) accepts(k *control.Key, keyType string) bool {
	names := []string{keyType}
	if rest, rsa := strings.CutPrefix(keyType, "ssh-rsa"); rsa {
		names = append(names, "rsa-sha2-512"+rest, "rsa-sha2-256"+rest)
		if least, err := strconv.Atoi(c.value("requiredrsasize")); err == nil && k.Bits < least {
			return false
		}
	}
	for _, name := range names {
		for pattern := range strings.SplitSeq(c.value("pubkeyacceptedalgorithms"), ",") {
			if matchPattern(pattern, name) {
				return true
			}
		}
	}
	return false
}

// hostKeys returns what known_hosts, as ssh reads it for this host, has.
func (a *app) hostKeys(c sshConfig) []knownHost {
	var files []string
	for _, keyword := range []string{"userknownhostsfile", "globalknownhostsfile"} {
		for _, path := range strings.Fields(c.value(keyword)) {
			if expanded, ok := c.expand(path, a.env); ok && exists(expanded) {
				files = append(files, expanded)
			}
		}
	}
	if len(files) == 0 {
		return nil
	}
	hosts, _ := a.knownHosts(files) // without it, hosts are compared by name
	return hosts
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeType == 0
}
