// Package local implements a master key in a file on this device: 32 random bytes
// in $XDG_DATA_HOME/vigil/device/master.key, with mode 0600.
//
// It makes Vigil usable without a cloud, and gives up what a key management
// service adds: an attacker who copies the device key, the keyring and the vault
// from this disk needs only the passphrase, and the key can't be revoked remotely.
// Without the file the vault is lost, so it belongs in a backup.
//
// A wrapped share is sealed by package envelope under the device key, with the
// encryption context as its context.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"vigil/internal/durable"
	"vigil/internal/envelope"
	"vigil/internal/fault"
	"vigil/internal/guard"
	"vigil/internal/master"
	"vigil/internal/printable"
)

// KeySize is the size in bytes of the device key and of its file.
const KeySize = 32

// label begins the context of a share that a device key wraps. The fields are
// vault, identity and purpose. docs/vault-format.md, "Local master".
const label = "vigil v1 local share"

func sealContext(c master.Context) envelope.Context {
	return envelope.NewContext(label, c.Vault[:], c.Identity[:], []byte(c.Purpose))
}

// Key is the master key in a device folder. It holds no secret between calls: each
// call reads the file into guarded memory and wipes it.
type Key struct {
	dir  string
	slab *guard.Slab
}

var _ master.Key = (*Key)(nil)

// New returns the master key in the device folder dir, an absolute path. It does
// no I/O; Check and every other call does. The caller owns the slab, which must
// outlive the Key.
func New(dir string, slab *guard.Slab) *Key { return &Key{dir: dir, slab: slab} }

// Path returns the device key's file, for a person to back up.
func (k *Key) Path() string { return filepath.Join(k.dir, master.LocalFile) }

// Create makes the device key and writes it durably. If there is one already, on
// which vaults may depend, it fails with fs.ErrExist and changes nothing.
func (k *Key) Create() error {
	if err := durable.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("make device folder: %w", err)
	}
	buf, err := k.slab.Alloc(KeySize)
	if err != nil {
		return fmt.Errorf("make device key: %w", err)
	}
	defer buf.Free()
	if _, err := rand.Read(buf.Bytes()); err != nil {
		return fmt.Errorf("make device key: %w", err)
	}
	if err := durable.Create(k.Path(), buf.Bytes(), 0o600); err != nil {
		return fmt.Errorf("make device key: %w", err)
	}
	return nil
}

// Generate makes a new share. See [master.Key].
func (k *Key) Generate(ctx context.Context, dst []byte, c master.Context) ([]byte, error) {
	const op = "generate share"
	if err := check(ctx, dst, c); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var wrapped []byte
	err := k.use(op, func(key []byte) (err error) {
		if _, err = rand.Read(dst); err != nil {
			return err
		}
		wrapped, err = envelope.Seal(key, sealContext(c), dst)
		return err
	})
	if err != nil {
		guard.Wipe(dst)
		return nil, err
	}
	return wrapped, nil
}

// Decrypt unwraps a share into dst. See [master.Key].
func (k *Key) Decrypt(ctx context.Context, dst, wrapped []byte, c master.Context) error {
	const op = "unwrap share"
	if err := check(ctx, dst, c); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	err := k.use(op, func(key []byte) error {
		if err := envelope.Open(dst, key, sealContext(c), wrapped); err != nil {
			return &fault.Error{
				Of:   master.Name,
				Kind: fault.ErrMisconfigured, Op: op, Err: err,
				Next: "The share was wrapped by another device key, or is damaged; restore " + k.Path() + " from the backup of this device.",
			}
		}
		return nil
	})
	if err != nil {
		guard.Wipe(dst)
	}
	return err
}

// Rewrap wraps a share again. It can't move the share to another kind of master
// key, because the plaintext would have to leave this one. See [master.Key].
func (k *Key) Rewrap(ctx context.Context, wrapped []byte, c master.Context, to master.URI) ([]byte, error) {
	const op = "rewrap share"
	if to.Scheme != master.SchemeLocal {
		return nil, &fault.Error{
			Of:   master.Name,
			Kind: fault.ErrMisconfigured, Op: op,
			Err:  fmt.Errorf("a share can't move from a device key to %s", to.Scheme),
			Next: "Give the identity's passphrase, so that it gets a new share there.",
		}
	}
	share, err := k.slab.Alloc(master.ShareSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer share.Free()
	if err := k.Decrypt(ctx, share.Bytes(), wrapped, c); err != nil {
		return nil, err
	}
	var again []byte
	err = k.use(op, func(key []byte) (err error) {
		again, err = envelope.Seal(key, sealContext(c), share.Bytes())
		return err
	})
	return again, err
}

// Check reads the device key. See [master.Key].
func (k *Key) Check(context.Context) (master.Description, error) {
	if err := k.use("check device key", func([]byte) error { return nil }); err != nil {
		return master.Description{}, err
	}
	return master.Description{
		URI:    master.URI{Scheme: master.SchemeLocal},
		Detail: "device key " + k.Path() + "; back it up, nothing opens the vault without it",
	}, nil
}

// Calls returns zero: a device key needs no service.
func (k *Key) Calls() master.Calls { return master.Calls{} }

// check refuses arguments that no call to a master key may have.
func check(ctx context.Context, dst []byte, c master.Context) error {
	if len(dst) != master.ShareSize {
		return fmt.Errorf("room for %d bytes of share, want %d", len(dst), master.ShareSize)
	}
	if err := c.Validate(); err != nil {
		return err
	}
	return ctx.Err()
}

// use runs f on the device key, in guarded memory that is wiped afterwards, and
// erases what f leaves on stack and heap.
func (k *Key) use(op string, f func(key []byte) error) error {
	buf, err := k.slab.Alloc(KeySize)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer buf.Free()
	if err := k.read(buf.Bytes()); err != nil {
		return k.failure(op, err)
	}
	guard.Do(func() { err = f(buf.Bytes()) })
	return err
}

// Refusals of a device key file.
var (
	errSize  = fmt.Errorf("not %d bytes long", KeySize)
	errMode  = errors.New("readable or writable by others")
	errOwner = errors.New("owned by another user")
)

// read fills dst, KeySize bytes, from the device key's file.
func (k *Key) read(dst []byte) error {
	f, err := durable.OpenOwn(k.Path())
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case info.Mode().Perm()&0o077 != 0:
		return errMode
	case info.Size() != KeySize:
		return errSize
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return errOwner
	}
	_, err = io.ReadFull(f, dst)
	return err
}

// failure returns what is wrong with the device key's file and what to do.
func (k *Key) failure(op string, err error) error {
	e := &fault.Error{Of: master.Name, Kind: fault.ErrMisconfigured, Op: op, Err: fmt.Errorf("device key %s: %w", k.Path(), err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Err = fmt.Errorf("device key: %w", err) // a PathError names the file
		e.Next = "Restore the device key from the backup of this device."
	case errors.Is(err, errMode):
		e.Next = "Make it private: `chmod 600 " + printable.Word(k.Path()) + "`."
	case errors.Is(err, errOwner):
		e.Next = "Run as the user who owns the device key."
	case errors.Is(err, errSize), errors.Is(err, durable.ErrNotAFile), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
		e.Next = "Restore the device key from the backup of this device."
	default:
		e.Kind = fault.ErrUnreachable // a disk error may be temporary
		e.Next = "Look after the disk of " + k.dir + ", and its permissions."
	}
	return e
}
