// Package passphrase derives 32 bytes from a passphrase with Argon2id. Only the
// opener links it, a process that ends after one job: Argon2id's memory, and the
// copies its goroutines make, can't be erased.
package passphrase

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"vigil/internal/guard"
	"vigil/internal/keyring"
)

// KeySize is the size of the derived key, in bytes.
const KeySize = 32

// MaxSize is the most bytes a passphrase may have, before and after
// normalisation.
const MaxSize = 1024

// Errors for passphrases that can't be used.
var (
	ErrEmpty = errors.New("passphrase is empty")
	ErrLong  = errors.New("passphrase is longer than 1024 bytes")
	ErrUTF8  = errors.New("passphrase is not UTF-8")
)

// TrimLineEnd returns b without one trailing line end (LF or CR LF), for passphrases
// from files and descriptors. It aliases b.
func TrimLineEnd(b []byte) []byte {
	if trimmed, ok := bytes.CutSuffix(b, []byte{'\n'}); ok {
		return bytes.TrimSuffix(trimmed, []byte{'\r'})
	}
	return b
}

// Deriver derives keys, one at a time, because two at once would take twice the
// memory. Its zero value is ready to use. It must not be copied.
type Deriver struct{ one sync.Mutex }

// Derive fills dst (KeySize bytes of guarded memory) with Argon2id of the
// NFC-normalised passphrase under k, whose limits it checks first. The caller
// wipes the passphrase; Derive wipes its own copies, except those inside Argon2id.
// Errors are ErrEmpty, ErrLong, ErrUTF8, or name the limit of k.
func (d *Deriver) Derive(dst, passphrase []byte, k keyring.KDF) error {
	if len(dst) != KeySize {
		return fmt.Errorf("derive from passphrase: destination has %d bytes, want %d", len(dst), KeySize)
	}
	if err := k.Check(); err != nil {
		return fmt.Errorf("derive from passphrase: %w", err)
	}
	switch {
	case len(passphrase) == 0:
		return ErrEmpty
	case len(passphrase) > MaxSize:
		return ErrLong
	case !utf8.Valid(passphrase):
		return ErrUTF8
	}
	d.one.Lock()
	defer d.one.Unlock()
	prepare(int(k.Memory) << 10)
	var err error
	guard.Do(func() {
		normal := passphrase
		if !norm.NFC.IsNormal(passphrase) {
			// NFC makes UTF-8 at most three times as long (UAX #15), so this
			// never grows, and no copy is left behind.
			buf := make([]byte, 0, 3*len(passphrase))
			normal = norm.NFC.Append(buf, passphrase...)
			defer guard.Wipe(normal)
		}
		if len(normal) > MaxSize {
			err = ErrLong
			return
		}
		key := argon2.IDKey(normal, k.Salt[:], k.Time, k.Memory, k.Lanes, KeySize)
		copy(dst, key)
		guard.Wipe(key)
	})
	return err
}
