package main

import (
	"bytes"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vigil/internal/durable"
	"vigil/internal/guard"
)

const (
	// maxSSHFiles is how many files of ~/.ssh are inspected.
	maxSSHFiles = 1000
	// maxKeyFile is the largest file that is taken for a private key, in bytes.
	maxKeyFile = 64 << 10
	// peekPEM is how much of a PEM file is read: its first line, and enough of the
	// next to see "Proc-Type", but no byte of a key.
	peekPEM = len("-----BEGIN RSA PRIVATE KEY-----\r\nProc")
	// peekOpenSSH is enough to see an OpenSSH file's cipher name (PROTOCOL.key),
	// which is at its start; keys come much later.
	peekOpenSSH = 110
	// peekPPK is enough of a PuTTY file to see its second line, "Encryption".
	peekPPK = 120
)

// keyFile is a private key file in ~/.ssh.
type keyFile struct {
	path      string
	plaintext bool // it has no passphrase
}

// findKeyFiles returns the private key files in a folder. It reads only the start
// of each file, and changes nothing.
func findKeyFiles(dir string) []keyFile {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxSSHFiles)
	var found []keyFile
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxKeyFile || strings.HasSuffix(name, ".pub") {
			continue
		}
		if plaintext, ok := inspectKeyFile(path); ok {
			found = append(found, keyFile{path, plaintext})
		}
	}
	sortKeyFiles(found)
	return found
}

// inspectKeyFile reports whether a file is a private key, and is unencrypted.
func inspectKeyFile(path string) (plaintext, ok bool) {
	f, err := durable.OpenRegular(path)
	if err != nil {
		return false, false
	}
	defer f.Close()
	b := make([]byte, peekPPK)
	defer guard.Wipe(b)
	n, _ := io.ReadFull(f, b[:peekPEM])
	head := b[:n]
	first, second, _ := bytes.Cut(head, []byte("\n"))
	first = bytes.TrimRight(first, "\r")
	switch {
	case bytes.Equal(first, []byte("-----BEGIN OPENSSH PRIVATE KEY-----")):
		m, _ := io.ReadFull(f, b[n:peekOpenSSH])
		return plainOpenSSH(b[:n+m]), true
	case bytes.HasPrefix(first, []byte("PuTTY-User-Key-File-")):
		m, _ := io.ReadFull(f, b[n:])
		return bytes.Contains(b[:n+m], []byte("Encryption: none")), true
	case bytes.Equal(first, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")):
		return false, true
	case bytes.HasPrefix(first, []byte("-----BEGIN ")) && bytes.HasSuffix(first, []byte("PRIVATE KEY-----")):
		return !bytes.HasPrefix(second, []byte("Pr")), true // "Proc-Type: 4,ENCRYPTED"
	}
	return false, false
}

// plainOpenSSH reports whether an OpenSSH private key file's cipher is "none".
func plainOpenSSH(head []byte) bool {
	_, body, _ := bytes.Cut(head, []byte("\n"))
	line, _, _ := bytes.Cut(body, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	line = line[:len(line)/4*4]
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, _ := base64.StdEncoding.Decode(decoded, line)
	return bytes.HasPrefix(decoded[:n], []byte("openssh-key-v1\x00\x00\x00\x00\x04none"))
}

// sortKeyFiles sorts by path, so that a numbered list is the same every time.
func sortKeyFiles(files []keyFile) {
	slices.SortFunc(files, func(a, b keyFile) int { return strings.Compare(a.path, b.path) })
}
