// Package doctor checks what can be seen of an installation without its daemon:
// configuration, files and their modes, programs, sockets, other agents that set
// SSH_AUTH_SOCK, and the kernel. It changes nothing and reads no secret.
package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"vigil/internal/checkup"
	"vigil/internal/config"
	"vigil/internal/master"
	"vigil/internal/paths"
)

// Place is the installation to check, as seen from a user's shell.
type Place struct {
	Paths paths.Paths
	// Getenv looks up the shell's environment.
	Getenv func(string) string
	// Programs is the folder that vigild and vigil-opener are in.
	Programs string
}

// Local makes every check that needs no daemon.
func Local(p Place) []checkup.Check {
	conf, checks := configuration(p.Paths)
	checks = append(checks, programs(p.Programs)...)
	checks = append(checks, permissions(p.Paths, conf)...)
	checks = append(checks, p.sockets()...)
	checks = append(checks, p.others()...)
	checks = append(checks, kernel(conf.SecretMemory)...)
	return append(checks, masters(p.Paths, conf)...)
}

// configuration reads the configuration as the daemon does at its start. If that
// fails, it returns an empty one.
func configuration(p paths.Paths) (*config.Config, []checkup.Check) {
	const what = "config"
	c, err := config.Load(p)
	if err != nil {
		return &config.Config{}, []checkup.Check{checkup.Failure(what, "Correct the line; docs/config.md lists every key. The daemon doesn't start with it.", "%v", err)}
	}
	where := p.ConfigFile()
	if _, err := os.Stat(where); errors.Is(err, fs.ErrNotExist) {
		where += ", which isn't there: defaults hold"
	}
	checks := []checkup.Check{checkup.Fine(what, "%d in %s", len(c.Vaults), where)}
	checks[0].Detail = checkup.Count(len(c.Vaults), "vault") + " in " + where
	if len(c.Unlisted) > 0 {
		checks = append(checks, checkup.Warning(what, "Name them in `vaults` of "+p.ConfigFile()+", or remove their files from "+p.VaultConfigDir()+".",
			"not served, as `vaults` leaves them out: %s", strings.Join(c.Unlisted, ", ")))
	}
	return c, checks
}

// masters reminds the user of the local master key's file, without which a vault is
// lost.
func masters(p paths.Paths, c *config.Config) []checkup.Check {
	var names []string
	for _, v := range c.Vaults {
		if _, err := os.Stat(v.Path); err == nil && v.Master == config.DefaultMaster {
			names = append(names, v.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	const what = "master backup"
	if _, err := os.Stat(filepath.Join(p.Device(), master.LocalFile)); err != nil {
		return []checkup.Check{checkup.Failure(what, "Restore "+p.Device()+" from a backup: without it nothing opens the vault.",
			"the local master key of %s isn't there: %s", strings.Join(names, ", "), p.Device())}
	}
	return []checkup.Check{checkup.Warning(what, "Keep a copy of "+p.Device()+" apart from the vault file. Nobody can tell from here whether you do.",
		"%s can't be opened without the local master key in %s", strings.Join(names, ", "), p.Device())}
}
