package systemd

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vigil/internal/paths"
)

// generatorFolders have the programs that make the environment of a user's manager, the
// folders that count first (systemd.environment-generator(7)).
var generatorFolders = []string{
	"/run/systemd/user-environment-generators", "/etc/systemd/user-environment-generators",
	"/usr/local/lib/systemd/user-environment-generators", "/usr/lib/systemd/user-environment-generators",
}

const (
	// ofFiles is the generator that reads environment.d(5).
	ofFiles = "30-systemd-environment-d-generator"
	// ofGnuPG is Debian's, which follows gpg-agent.conf.
	ofGnuPG = "90gpg-agent"
	// generatorsTimeout bounds all of them; here they take 50 ms.
	generatorsTimeout = 10 * time.Second
)

// newLogin returns the SSH_AUTH_SOCK that a manager has which starts at a login, and the
// generator that set it. env is the environment of this one. It runs the system's
// generators, as each login and each reload of the manager do.
func newLogin(ctx context.Context, env map[string]string, folders []string) (socket, by string) {
	ctx, cancel := context.WithTimeout(ctx, generatorsTimeout)
	defer cancel()
	env = maps.Clone(env)
	delete(env, paths.SocketVariable)
	for _, path := range generators(folders) {
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = []string{} // nothing of vigilctl's own
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, err := cmd.Output()
		if err != nil {
			continue // as the manager does
		}
		made := variables(string(out))
		if _, ok := made[paths.SocketVariable]; ok {
			by = filepath.Base(path)
		}
		maps.Copy(env, made)
	}
	return env[paths.SocketVariable], by
}

// generators returns the programs of folders in the order of their names. Of two with one
// name the first folder's counts, also if it leads to /dev/null, which turns both off.
func generators(folders []string) (list []string) {
	found := map[string]string{}
	for _, dir := range folders {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if found[e.Name()] == "" && !strings.HasPrefix(e.Name(), ".") {
				found[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if info, err := os.Stat(found[name]); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			list = append(list, found[name])
		}
	}
	return list
}

// nextLogin returns what to do about a new login whose SSH_AUTH_SOCK isn't Vigil's.
func nextLogin(by string) string {
	switch by {
	case ofFiles:
		return "grep " + paths.SocketVariable + " ~/.config/environment.d/* /etc/environment.d/* shows the file that sets it last"
	case ofGnuPG:
		return "take enable-ssh-support out of gpg-agent.conf, with which Debian gives gpg-agent its place"
	case "":
		return "vigilctl service enable"
	}
	return "the environment generator " + by + " sets it"
}
