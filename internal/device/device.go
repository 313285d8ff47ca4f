// Package device keeps one key for this device, and seals data under it that only
// this device may open: the share for offline use, and AWS sessions that required an
// MFA code.
//
// The key is in the system's key store (Secret Service, Keychain) if there is one,
// or else in a file beside the local master key, with mode 0600. Whoever can read it
// and the sealed share has the KMS factor of this vault, but still needs the
// passphrase. Only vigil-opener links this package.
package device

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"

	"vigil/internal/durable"
	"vigil/internal/envelope"
	"vigil/internal/guard"
)

const (
	// fileName is the key's file in the device folder.
	fileName = "device.key"
	// service and account name the key in the system's key store.
	service = "vigil"
	account = "device key"
	// storeTimeout is how long the system's key store may take: it may ask a person
	// to unlock it, and background work must not wait for that.
	storeTimeout = 3 * time.Second
)

// Where a device key is.
const (
	InStore = "system key store"
	InFile  = "file"
)

// ErrNoKey: there is no device key, so nothing can have been sealed under it.
var ErrNoKey = errors.New("this device has no key of its own yet")

// Device is where the key is. Every use reads the key and wipes it afterwards.
type Device struct {
	dir  string
	slab *guard.Slab
	// store is the system's key store, or nil.
	store store
}

// store keeps a text under a name.
type store interface {
	get() (string, error)
	set(text string) error
}

// New returns the Device of the device folder dir. getenv looks up the environment,
// which tells whether a system key store can be reached.
func New(dir string, slab *guard.Slab, getenv func(string) string) *Device {
	d := &Device{dir: dir, slab: slab}
	if runtime.GOOS == "darwin" || getenv("DBUS_SESSION_BUS_ADDRESS") != "" {
		d.store = systemStore{}
	}
	return d
}

// Seal seals plaintext for a context, and makes the device key if there is none. It
// returns where the key is.
func (d *Device) Seal(ctx context.Context, c envelope.Context, plaintext []byte) (sealed []byte, where string, err error) {
	key, where, err := d.key(ctx, true)
	if err != nil {
		return nil, "", err
	}
	defer key.Free()
	sealed, err = envelope.Seal(key.Bytes(), c, plaintext)
	return sealed, where, err
}

// Open opens what Seal made into dst.
func (d *Device) Open(ctx context.Context, dst []byte, c envelope.Context, sealed []byte) error {
	key, _, err := d.key(ctx, false)
	if err != nil {
		return err
	}
	defer key.Free()
	return envelope.Open(dst, key.Bytes(), c, sealed)
}

// key reads the device key into guarded memory that the caller frees. A key in a
// file, made when there was no store, takes precedence over one in the store.
func (d *Device) key(ctx context.Context, create bool) (*guard.Buffer, string, error) {
	key, err := d.slab.Alloc(envelope.KeySize)
	if err != nil {
		return nil, "", err
	}
	where, err := d.read(ctx, key.Bytes())
	if errors.Is(err, ErrNoKey) && create {
		where, err = d.make(ctx, key.Bytes())
	}
	if err != nil {
		key.Free()
		return nil, "", err
	}
	return key, where, nil
}

// Where returns where the device key is, or ErrNoKey.
func (d *Device) Where(ctx context.Context) (string, error) {
	key, where, err := d.key(ctx, false)
	if err != nil {
		return "", err
	}
	key.Free()
	return where, nil
}

func (d *Device) path() string { return filepath.Join(d.dir, fileName) }

func (d *Device) read(ctx context.Context, key []byte) (where string, err error) {
	f, err := durable.OpenOwn(d.path())
	if err == nil {
		defer f.Close()
		return InFile, readFile(f, key)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read device key: %w", err)
	}
	if d.store == nil {
		return "", ErrNoKey
	}
	text, err := await(ctx, d.store.get)
	switch {
	case errors.Is(err, keyring.ErrNotFound):
		return "", ErrNoKey
	case err != nil:
		return "", fmt.Errorf("read device key from the system's store: %w", err)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	defer guard.Wipe(b)
	if err != nil || len(b) != len(key) {
		return "", errors.New("read device key from the system's store: not a key of ours")
	}
	copy(key, b)
	return InStore, nil
}

func readFile(f *os.File, key []byte) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read device key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 || info.Size() != int64(len(key)) {
		return fmt.Errorf("read device key %s: not a file of %d bytes that only its owner can read", f.Name(), len(key))
	}
	if _, err := f.ReadAt(key, 0); err != nil {
		return fmt.Errorf("read device key: %w", err)
	}
	return nil
}

// make makes a new key, and keeps it in the store if the store accepts it.
func (d *Device) make(ctx context.Context, key []byte) (where string, err error) {
	rand.Read(key)
	if d.store != nil {
		_, err := await(ctx, func() (string, error) { return "", d.store.set(base64.StdEncoding.EncodeToString(key)) })
		if err == nil {
			return InStore, nil
		}
	}
	if err := durable.MkdirAll(d.dir, 0o700); err != nil {
		return "", fmt.Errorf("make device key: %w", err)
	}
	if err := durable.Create(d.path(), key, 0o600); err != nil {
		return "", fmt.Errorf("make device key: %w", err)
	}
	return InFile, nil
}

// await bounds a call that takes no context. Its goroutine ends with the call, or
// with this process, which does a single job.
func await(ctx context.Context, call func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := call()
		done <- result{text, err}
	}()
	timer := time.NewTimer(storeTimeout)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.text, r.err
	case <-timer.C:
		return "", errors.New("no answer")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// systemStore is the Secret Service or the Keychain.
type systemStore struct{}

func (systemStore) get() (string, error) {
	text, err := keyring.Get(service, account)
	var refused dbus.Error
	if errors.As(err, &refused) && refused.Name == serviceUnknown {
		return "", keyring.ErrNotFound
	}
	return text, err
}

// serviceUnknown is the bus's error where no Secret Service is installed, as on a server
// whose users have a bus all the same: there the key is in a file.
const serviceUnknown = "org.freedesktop.DBus.Error.ServiceUnknown"

func (systemStore) set(text string) error { return keyring.Set(service, account, text) }
