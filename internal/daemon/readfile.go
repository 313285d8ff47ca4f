package daemon

import (
	"bytes"
	"io"

	"vigil/internal/durable"
	"vigil/internal/vaultfile"
)

// readVaultFile reads a vault file, or a copy of one.
func readVaultFile(path string) ([]byte, error) { return durable.ReadFile(path, vaultfile.MaxFile) }

// A vault file that may be read may be written: durable.Update reads it, too.
const _ = uint(durable.MaxFile - vaultfile.MaxFile)

// readVaultHeader reads as much of a vault file as its first line has, and tells
// whether that is all of it.
func readVaultHeader(path string) (head []byte, whole bool, err error) {
	f, err := durable.OpenRegular(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	head, err = io.ReadAll(io.LimitReader(f, maxHeader))
	if end := bytes.IndexByte(head, '\n'); end >= 0 && end < len(head)-1 {
		return head[:end+1], false, err
	}
	return head, len(head) < maxHeader, err
}

// maxHeader is more bytes than the first line of a vault file has.
const maxHeader = 512
