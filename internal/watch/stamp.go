package watch

import (
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"syscall"
	"time"
)

// fileID distinguishes a file or folder from another that replaced it.
type fileID struct{ dev, ino uint64 }

// stamp is the metadata that changes with a file's content.
type stamp struct {
	id           fileID
	size         int64
	mtime, ctime int64 // ns since 1970
}

// sum stands for the content of a file that is too large to be read.
func (s stamp) sum() (sum [sha256.Size]byte) {
	binary.BigEndian.PutUint64(sum[0:], uint64(s.size))
	binary.BigEndian.PutUint64(sum[8:], uint64(s.mtime))
	binary.BigEndian.PutUint64(sum[16:], s.id.ino)
	return sum
}

func idOf(info fs.FileInfo) fileID {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(st.Dev), uint64(st.Ino)}
	}
	return fileID{}
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{id: idOf(info), size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ctime = changeTime(st).UnixNano()
	}
	return s
}

// newest returns the later of mtime, which can be set at will, and ctime, which can't.
func newest(info fs.FileInfo) time.Time {
	t := info.ModTime()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if c := changeTime(st); c.After(t) {
			return c
		}
	}
	return t
}
