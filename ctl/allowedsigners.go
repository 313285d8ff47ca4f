package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"vigil/internal/control"
	"vigil/internal/durable"
)

// maxAllowedSigners is the largest allowed signers file that is changed, in bytes: some
// ten thousand keys.
const maxAllowedSigners = 16 << 20

// allowSigner adds a line for an e-mail address and a public key to an allowed signers
// file (ssh-keygen(1)), unless a line there lets the key sign for the address already. It
// makes the file and its folder if need be, and changes no other line.
func allowSigner(path, email, publicKey string) (added bool, err error) {
	old, err := durable.ReadFile(path, maxAllowedSigners)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return false, fmt.Errorf("read the allowed signers: %w", err)
	}
	for line := range strings.Lines(string(old)) {
		if allows(line, email, publicKey) {
			return false, nil
		}
	}
	if len(old) > 0 && old[len(old)-1] != '\n' {
		old = append(old, '\n')
	}
	options := durable.Options{} // keeps the mode that the file has
	if missing {
		options.Mode = 0o644 // addresses and public keys, as each commit shows them
		if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return false, err
		}
	}
	return true, durable.Replace(path, fmt.Appendf(old, "%s namespaces=\"git\" %s\n", email, publicKey), options)
}

// allows reports whether a line of an allowed signers file is for this address and key,
// and not for another purpose than git.
func allows(line, email, publicKey string) bool {
	fields := strings.Fields(line)
	keyType, blob, _ := strings.Cut(publicKey, " ")
	at := slices.Index(fields, keyType)
	if at < 1 || at+1 >= len(fields) || fields[at+1] != blob || !slices.Contains(strings.Split(strings.Trim(fields[0], `"`), ","), email) {
		return false
	}
	options := strings.ToLower(strings.Join(fields[1:at], " "))
	_, namespaces, limited := strings.Cut(options, "namespaces=\"")
	namespaces, _, _ = strings.Cut(namespaces, "\"")
	return !strings.Contains(options, "cert-authority") && (!limited || slices.Contains(strings.Split(namespaces, ","), "git"))
}

// checkSigner refuses an address that means something else in an allowed signers file, where
// it is a list of patterns.
func checkSigner(email string) error {
	if email == "" {
		return control.Errorf(control.CodeFailed, "Set it: git config --global user.email YOU@EXAMPLE.COM", "git has no user.email, which names the key's owner in the allowed signers")
	}
	if strings.ContainsAny(email, " \t\"'#,*?!") || strings.ContainsFunc(email, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return control.Errorf(control.CodeFailed, "Nothing was changed. Set one: git config --global user.email YOU@EXAMPLE.COM", "git's user.email, %q, isn't one address that an allowed signers file can hold", email)
	}
	return nil
}
