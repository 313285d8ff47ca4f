package ownership

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"vigil/internal/durable"
)

// maxAccounts is the largest /etc/passwd or /etc/group that is read, in bytes. In a
// larger one no group counts as the user's own.
const maxAccounts = 4 << 20

// ownGroup reports whether the group gid has no member but this user and root. It knows
// the accounts of /etc/passwd and /etc/group alone: a group that a directory service
// keeps counts as having others.
func ownGroup(gid uint32) bool {
	if runtime.GOOS != "linux" { // on macOS these files don't list people
		return false
	}
	passwd, err := durable.ReadFile("/etc/passwd", maxAccounts)
	if err != nil {
		return false
	}
	group, err := durable.ReadFile("/etc/group", maxAccounts)
	if err != nil {
		return false
	}
	return alone(string(passwd), string(group), os.Geteuid(), int(gid))
}

// alone reports whether, in the texts of passwd(5) and group(5), the group gid exists,
// and only accounts of the user uid or of root have it or are listed in it.
func alone(passwd, group string, uid, gid int) bool {
	mine := map[string]bool{} // names of this user's and root's accounts
	for line := range strings.Lines(passwd) {
		name, owner, primary, ok := account(line)
		switch {
		case !ok:
			continue
		case owner == uid || owner == 0:
			mine[name] = true
		case primary == gid:
			return false
		}
	}
	found := false
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || f[2] != strconv.Itoa(gid) {
			continue
		}
		found = true
		for member := range strings.SplitSeq(f[3], ",") {
			if member != "" && !mine[member] {
				return false
			}
		}
	}
	return found
}

// account reads a line of passwd(5).
func account(line string) (name string, uid, gid int, ok bool) {
	f := strings.Split(line, ":")
	if len(f) < 4 {
		return "", 0, 0, false
	}
	uid, uidErr := strconv.Atoi(f[2])
	gid, gidErr := strconv.Atoi(f[3])
	return f[0], uid, gid, uidErr == nil && gidErr == nil
}
