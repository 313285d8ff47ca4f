package securitykey

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"vigil/internal/ownership"
	"vigil/internal/policy"
	"vigil/internal/skhelper"
)

// packaged is where packages of OpenSSH have ssh-sk-helper.
var packaged = []string{
	"/usr/lib/openssh/ssh-sk-helper",     // Debian, Ubuntu
	"/usr/libexec/openssh/ssh-sk-helper", // Fedora, RHEL
	"/usr/lib/ssh/ssh-sk-helper",         // Arch, Alpine
	"/usr/libexec/ssh/ssh-sk-helper",     // SUSE
	"/usr/libexec/ssh-sk-helper",         // macOS, and where OpenSSH itself installs it
	"/usr/local/libexec/ssh-sk-helper",
	"/opt/homebrew/opt/openssh/libexec/ssh-sk-helper", // Homebrew
}

// DefaultProviders are the libraries that ssh-add may name, unless `ssh-agent -P` says
// otherwise.
const DefaultProviders = "/usr/lib*/*,/usr/local/lib*/*"

// An Error says why a helper or a provider isn't used.
type Error struct {
	Message string
	Next    string // what to do, or ""
}

func (e *Error) Error() string { return e.Message }

// Next returns what to do about an *Error that err is or wraps, or "".
func Next(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Next
	}
	return ownership.Next(err)
}

const install = "Install OpenSSH's client with its support for security keys: openssh-client (Debian), openssh-sk-helper (Fedora, Alpine)."

// find returns the first of the places that is there. The others aren't tried if that one
// can be changed by anybody but root: it would be asked to sign.
func (h *Helper) find() (string, error) {
	for _, path := range h.places {
		err := ownership.System(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return path, err
	}
	if h.configured {
		return "", &Error{fmt.Sprintf("there is no program %s, which config.toml names as security_key_helper", h.places[0]), "Correct the path or remove it, and restart vigild."}
	}
	return "", &Error{"ssh-sk-helper, which talks to security keys, isn't on this machine", install}
}

// Provider returns the provider that a key which was added with provider signs with. One
// that isn't part of OpenSSH is code that the helper loads: a list of patterns must allow
// it, and it must belong to root. remote is set if the request came through a forwarded
// agent, which must not choose what runs here.
func Provider(provider, allowed string, remote bool) (string, error) {
	switch {
	case provider == "" || provider == skhelper.Internal:
		return skhelper.Internal, nil
	case remote:
		return "", &Error{"a provider of security keys is only taken from this machine, not through a forwarded agent", ""}
	case !filepath.IsAbs(provider):
		return "", &Error{"the provider of security keys isn't an absolute path", ""}
	}
	path, err := filepath.EvalSymlinks(provider)
	if err != nil {
		return "", &Error{"the provider of security keys isn't there", ""}
	}
	if !allows(allowed, path) {
		return "", &Error{fmt.Sprintf("the provider of security keys %s isn't in one of %s", path, allowed), "Put it into a folder of the system's libraries."}
	}
	return path, ownership.System(path)
}

// allows reports whether a pattern of a list matches path, and none that begins with "!".
// (OpenSSH: match_pattern_list.)
func allows(list, path string) (ok bool) {
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, excluded := strings.CutPrefix(pattern, "!")
		if policy.Match(path, pattern) {
			if excluded {
				return false
			}
			ok = true
		}
	}
	return ok
}
