package watch

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func changeTime(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

// foreign are file systems, by their magic number (statfs(2)), on which changes by
// another machine or a program cause no event here.
var foreign = map[uint32]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CIFS_SUPER_MAGIC: "SMB",
	unix.FUSE_SUPER_MAGIC: "FUSE",
	unix.V9FS_MAGIC:       "9P",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.CODA_SUPER_MAGIC: "Coda",
	unix.CEPH_SUPER_MAGIC: "Ceph",
	0x786f4256:            "VirtualBox shared folders",
	0xbacbacbc:            "VMware shared folders",
}

// eventless returns why no events can be expected in one of the folders, or "".
func eventless(folders []string) string {
	for _, dir := range folders {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) != nil {
			continue
		}
		if name, ok := foreign[uint32(fs.Type)]; ok {
			return fmt.Sprintf("%s on %s reports no changes made elsewhere", dir, name)
		}
	}
	return ""
}
