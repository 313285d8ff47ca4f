package keyfile

import (
	"bytes"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

// opensshMagic starts the binary form of an OpenSSH private key (PROTOCOL.key).
const opensshMagic = "openssh-key-v1\x00"

// An opensshFile is the outer layer of an OpenSSH private key file.
type opensshFile struct {
	cipher  *opensshCipher
	salt    []byte
	rounds  uint32
	public  []byte
	private []byte // encrypted by cipher
	tag     []byte
}

// parseOpenSSH reads the binary form of an OpenSSH private key.
func parseOpenSSH(blob []byte, ask func() ([]byte, error)) (*Key, error) {
	f, err := readOpenSSHFile(blob)
	if err != nil {
		return nil, err
	}
	if f.cipher.open == nil {
		k, err := f.readPrivate(f.private)
		if err == errCheck {
			err = damaged("check values differ")
		}
		return k, err
	}
	passphrase, err := readPassphrase(ask)
	if err != nil {
		return nil, err
	}
	derived := bcryptPBKDF(passphrase, f.salt, f.rounds, f.cipher.key+f.cipher.iv)
	guard.Wipe(passphrase)
	defer guard.Wipe(derived)
	text := bytes.Clone(f.private)
	defer guard.Wipe(text)
	ok, err := f.cipher.open(derived[:f.cipher.key], derived[f.cipher.key:], text, f.tag)
	if err != nil {
		return nil, fmt.Errorf("decrypt with %s: %w", f.cipher.name, err)
	}
	if !ok {
		return nil, ErrWrongPassphrase
	}
	k, err := f.readPrivate(text)
	if err == errCheck {
		err = ErrWrongPassphrase
	}
	return k, err
}

// readOpenSSHFile reads and checks everything that isn't encrypted.
func readOpenSSHFile(blob []byte) (*opensshFile, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(opensshMagic))
	if !ok {
		return nil, damaged("no openssh-key-v1 at the start")
	}
	r := wire.NewReader(rest)
	cipherName, kdf, kdfOptions, keys := r.String(), r.String(), r.String(), r.Uint32()
	if r.Err() != nil || keys == 0 {
		return nil, damaged("OpenSSH header")
	}
	if keys != 1 {
		return nil, ErrMultipleKeys
	}
	f := &opensshFile{public: r.String(), private: r.String()}
	if r.Err() != nil {
		return nil, damaged("OpenSSH header")
	}
	if f.cipher = opensshCipherByName(cipherName); f.cipher == nil {
		return nil, &UnsupportedError{Type: "the cipher " + shown(cipherName), Advice: "all that ssh-keygen has ever written are"}
	}
	f.tag = r.Bytes(f.cipher.tag)
	if r.End() != nil || len(f.private) == 0 || len(f.private)%f.cipher.block != 0 {
		return nil, damaged("OpenSSH private section")
	}
	if err := f.readKDF(kdf, kdfOptions); err != nil {
		return nil, err
	}
	return f, checkPublic(f.public) // before asking for a passphrase
}

func (f *opensshFile) readKDF(kdf, options []byte) error {
	if f.cipher.open == nil {
		if string(kdf) != "none" || len(options) != 0 {
			return damaged("key derivation without a cipher")
		}
		return nil
	}
	if string(kdf) != "bcrypt" {
		return &UnsupportedError{Type: "the key derivation " + shown(kdf), Advice: "bcrypt, which ssh-keygen writes, is"}
	}
	r := wire.NewReader(options)
	f.salt, f.rounds = r.String(), r.Uint32()
	switch {
	case r.End() != nil || len(f.salt) == 0 || f.rounds == 0:
		return damaged("bcrypt parameters")
	case len(f.salt) > MaxSalt:
		return tooCostly("length of the salt in bytes", uint64(len(f.salt)), MaxSalt, keygenRounds)
	case f.rounds > MaxBcryptRounds:
		return tooCostly("number of bcrypt rounds", uint64(f.rounds), MaxBcryptRounds, keygenRounds)
	}
	return nil
}

// errCheck reports check values that differ: a sign of a wrong passphrase if the
// cipher has no tag.
var errCheck = damaged("check values")

// readPrivate reads the decrypted private section: two equal check values, the
// key, its comment, and padding 1, 2, 3, ….
func (f *opensshFile) readPrivate(text []byte) (*Key, error) {
	r := wire.NewReader(text)
	check1, check2 := r.Uint32(), r.Uint32()
	if r.Err() != nil || check1 != check2 {
		return nil, errCheck
	}
	k, err := readIdentity(&r)
	if err != nil {
		return nil, err
	}
	k.setComment(r.String())
	if r.Err() != nil || !isPadding(r.Rest()) {
		err = damaged("end of the OpenSSH private section")
	} else if !samePublic(k.public, f.public) {
		err = fmt.Errorf("compare with the file's public key: %w", ErrMismatch)
	}
	if err != nil {
		_ = k.Close() // the error that matters is err
		return nil, err
	}
	return k, nil
}

// maxPadding is larger than any cipher's block, in bytes.
const maxPadding = 255

func isPadding(b []byte) bool {
	if len(b) > maxPadding {
		return false
	}
	for i, v := range b {
		if int(v) != i+1 {
			return false
		}
	}
	return true
}
