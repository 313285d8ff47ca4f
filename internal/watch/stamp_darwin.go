package watch

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func changeTime(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctimespec.Unix()) }

// native are the file systems on which every change causes an event.
var native = map[string]bool{"apfs": true, "hfs": true}

// eventless returns why no events can be expected in one of the folders, or "".
func eventless(folders []string) string {
	for _, dir := range folders {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) != nil {
			continue
		}
		if name := unix.ByteSliceToString(fs.Fstypename[:]); !native[name] {
			return fmt.Sprintf("%s on %s reports no changes made elsewhere", dir, name)
		}
	}
	return ""
}
