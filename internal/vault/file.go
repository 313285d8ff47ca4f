package vault

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/fault"
	"vigil/internal/id"
	"vigil/internal/vaultfile"
)

// readFile reads the vault file and checks that this device knows the vault by this name.
func (v *Vault) readFile() (*vaultfile.File, error) {
	data, err := readVaultFile(v.config().Path)
	if err != nil {
		return nil, v.readError(err)
	}
	return v.parse(data)
}

// readOpened is readFile for a file whose opening returned file and openErr.
func (v *Vault) readOpened(file *os.File, openErr error) (*vaultfile.File, error) {
	if openErr != nil {
		return nil, v.readError(openErr)
	}
	data, err := durable.Read(file, vaultfile.MaxFile)
	if err != nil {
		return nil, v.readError(err)
	}
	return v.parse(data)
}

func (v *Vault) parse(data []byte) (*vaultfile.File, error) {
	f, err := vaultfile.Parse(data, id.Vault{})
	if err != nil {
		return nil, fileError(v, err)
	}
	return f, v.checkName(f.Vault())
}

// readHeader returns the vault's id, checked as by readFile, and whether the file has
// no items.
func (v *Vault) readHeader() (vaultID id.Vault, empty bool, err error) {
	head, whole, err := readVaultHeader(v.config().Path)
	if err != nil {
		return vaultID, false, v.readError(err)
	}
	vaultID, err = vaultfile.ParseHeader(head)
	if err != nil {
		return vaultID, false, fileError(v, err)
	}
	return vaultID, whole, v.checkName(vaultID)
}

// checkName returns an error if this device knows another vault by this name.
func (v *Vault) checkName(vaultID id.Vault) error {
	names, err := v.d.State.Names()
	if err != nil {
		return err
	}
	if known, ok := names[v.name]; ok && known != vaultID {
		return control.Errorf(control.CodeRefused, "Nothing was changed. Put the right file back, or give the other vault another name in the config.",
			"%s is vault %v, and %q is vault %v on this device", v.config().Path, vaultID, v.name, known)
	}
	return nil
}

func (v *Vault) readError(err error) *control.Error {
	if errors.Is(err, fs.ErrNotExist) {
		return control.Errorf(control.CodeNotFound, "Make one: vigilctl up (or vigilctl init).", "vault %q has no file at %s", v.name, v.config().Path)
	}
	next := strings.TrimSpace("Nothing was changed. " + fault.NextAfter(err))
	if errors.Is(err, durable.ErrNotAFile) || errors.Is(err, durable.ErrTooLarge) || errors.Is(err, syscall.ELOOP) {
		next = "Nothing was changed. Put back a good copy of " + v.config().Path + ": earlier ones are in .history/ beside it."
	}
	return control.Errorf(control.CodeFailed, next, "read vault %q: %v", v.name, err)
}

func fileError(v *Vault, err error) *control.Error {
	next := "Nothing was changed. Put back a good copy of " + v.config().Path + ": earlier ones are in .history/ beside it."
	if vaultfile.StageOf(err) == vaultfile.StageVersion {
		next = "Nothing was changed. A newer Vigil wrote it: upgrade."
	}
	return control.Errorf(control.CodeDamaged, next, "vault %q can't be read: %v", v.name, err)
}

// readVaultFile reads a vault file, or a copy of one.
func readVaultFile(path string) ([]byte, error) { return durable.ReadFile(path, vaultfile.MaxFile) }

// durable.Update must be able to read every vault file.
const _ = uint(durable.MaxFile - vaultfile.MaxFile)

// readVaultHeader reads the first line of a vault file, at most maxHeader bytes.
// whole reports whether that is the entire file.
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

// maxHeader exceeds the size of a vault file's first line, in bytes.
const maxHeader = 512
