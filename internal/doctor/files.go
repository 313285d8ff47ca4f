package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"vigil/internal/checkup"
	"vigil/internal/config"
	"vigil/internal/ownership"
	"vigil/internal/paths"
	"vigil/internal/printable"
)

// programs checks the binaries that get a passphrase or a key. If the user can read a binary, the
// user's other programs can dump its process from its start until it is hardened.
func programs(dir string) []checkup.Check {
	const what = "programs"
	var list []checkup.Check
	for _, name := range []string{"vigild", "vigil-opener", "vigil-meter"} {
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		if name == "vigil-meter" && errors.Is(err, fs.ErrNotExist) {
			continue // passphrases aren't measured without it; nothing else needs it
		}
		if bad := ownership.Program(path); bad != nil {
			err = bad
		}
		switch {
		case err != nil:
			list = append(list, checkup.Failure(what, ownership.Next(err), "%v", err))
		case info.Mode().Perm()&0o400 != 0 && owner(info) != 0 || info.Mode().Perm()&0o044 != 0:
			list = append(list, checkup.Warning(what, fmt.Sprintf("`chmod 0111 %s`, or install it as root with mode 0711.", printable.Word(path)),
				"%s can be read by its user, so other programs may look into it while it starts", path))
		default:
			list = append(list, checkup.Fine(what, "%s (%04o)", path, info.Mode().Perm()))
		}
	}
	return list
}

// permissions checks that all of Vigil's folders and files are private to their
// user.
func permissions(p paths.Paths, c *config.Config) []checkup.Check {
	const what = "permissions"
	places := []string{
		p.Config, p.ConfigFile(), p.VaultConfigDir(), p.Data, p.Device(), p.State, p.Runtime,
		p.AgentSocket(), p.ControlSocket(), p.Log(), p.AuditLog(),
	}
	for _, v := range c.Vaults {
		places = append(places, p.VaultConfig(v.Name), filepath.Dir(v.Path), v.Path, p.Keyring(v.Name))
	}
	for _, dir := range []string{p.Device(), p.Keyring(config.DefaultVault)} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			places = append(places, filepath.Join(dir, e.Name()))
		}
	}
	var wrong []string
	secret := false
	for _, path := range places {
		info, err := os.Lstat(path)
		if err != nil {
			continue // other checks report missing files
		}
		if mode := info.Mode().Perm(); ownership.Check(path, info) != nil {
			secret = true
			wrong = append(wrong, fmt.Sprintf("%s (uid %d, %04o)", path, owner(info), mode))
		} else if mode&0o077 != 0 && filepath.Dir(path) != p.Config && path != p.Config {
			secret = secret || strings.HasPrefix(path, p.Device())
			wrong = append(wrong, fmt.Sprintf("%s (%04o)", path, mode))
		}
	}
	switch {
	case len(wrong) == 0:
		return []checkup.Check{checkup.Fine(what, "files and folders are private to their user")}
	case secret:
		return []checkup.Check{checkup.Failure(what, "`chmod go-rwx` them, and `chown` what isn't yours.", "other users can change files, or read what opens a vault: %s", strings.Join(wrong, ", "))}
	}
	return []checkup.Check{checkup.Warning(what, "`chmod go-rwx` them.", "other users can read: %s", strings.Join(wrong, ", "))}
}

func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
