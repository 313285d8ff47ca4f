package keyfile

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"vigil/internal/guard"
	"vigil/internal/pubkey"
)

// Parse reads the private key file data, whatever its format, also if it was changed
// by copying and pasting (see docs/import.md).
//
// Parse calls passphrase at most once, and only if the file is encrypted and its
// scheme and key type are supported. It wipes the slice that passphrase returns,
// and all its own copies of the key, before it returns. If passphrase is nil, an
// encrypted file is ErrPassphraseNeeded. An error from passphrase is returned
// wrapped. To try again after ErrWrongPassphrase, call Parse again. Parse doesn't
// modify data, which the caller wipes. The caller closes the Key.
//
// Errors to branch on: ErrNotAKey, ErrPublicKey, ErrMultipleKeys, ErrTooLarge,
// ErrPassphraseNeeded, ErrWrongPassphrase, ErrUnsupported (an *UnsupportedError),
// ErrDamaged, ErrMismatch.
func Parse(data []byte, passphrase func() ([]byte, error)) (k *Key, err error) {
	guard.Do(func() { k, err = parse(data, passphrase) })
	return k, err
}

func parse(data []byte, ask func() ([]byte, error)) (*Key, error) {
	if len(data) > MaxFile {
		return nil, tooLarge("size of the file in bytes", uint64(len(data)), MaxFile)
	}
	asked := false
	askOnce := ask
	if ask != nil {
		askOnce = func() ([]byte, error) {
			asked = true
			return ask()
		}
	}
	k, err := parseText(data, askOnce)
	if !asked && (errors.Is(err, ErrNotAKey) || errors.Is(err, ErrDamaged)) {
		return parseRepaired(data, ask, err)
	}
	return k, err
}

// parseText reads the text of a key file as it is.
func parseText(data []byte, ask func() ([]byte, error)) (*Key, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.TrimLeft(data, " \t\r\n")
	switch {
	case bytes.HasPrefix(data, []byte(ppkMagic)):
		return parsePPK(data, ask)
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return parsePEM(data, ask)
	case bytes.HasPrefix(data, []byte("---- BEGIN SSH2 PUBLIC KEY ----")), isPublicLine(data):
		return nil, ErrPublicKey
	case bytes.HasPrefix(data, []byte("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----")):
		return nil, &UnsupportedError{
			Type:   "the format of ssh.com and Tectia",
			Advice: "convert a copy with " + puttyOpenSSH,
		}
	case bytes.HasPrefix(data, []byte("SSH PRIVATE KEY FILE FORMAT 1.")):
		return nil, &UnsupportedError{Type: "SSH protocol 1", Advice: "it is broken; make a new key"}
	case isDER(data):
		return nil, refuseDER(data)
	}
	return nil, ErrNotAKey
}

// isPublicLine reports whether the first line that isn't a comment is a line of
// authorized_keys, known_hosts or a .pub file: a key type and a blob of that type.
func isPublicLine(data []byte) bool {
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		for i := range len(fields) - 1 {
			blob, err := base64.StdEncoding.AppendDecode(nil, fields[i+1])
			if err == nil && len(blob) > 0 && pubkey.Type(blob) == string(fields[i]) {
				return true
			}
		}
		return false
	}
	return false
}

// readPassphrase calls ask, and refuses an empty passphrase, under which no tool
// encrypts. The caller wipes the passphrase.
func readPassphrase(ask func() ([]byte, error)) ([]byte, error) {
	if ask == nil {
		return nil, ErrPassphraseNeeded
	}
	passphrase, err := ask()
	if err != nil {
		guard.Wipe(passphrase)
		return nil, fmt.Errorf("ask for the file's passphrase: %w", err)
	}
	if len(passphrase) == 0 {
		return nil, ErrWrongPassphrase
	}
	if len(passphrase) > MaxPassphrase {
		guard.Wipe(passphrase)
		return nil, tooLarge("length of the passphrase in bytes", uint64(len(passphrase)), MaxPassphrase)
	}
	return passphrase, nil
}
