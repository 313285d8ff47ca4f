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
	"vigil/internal/printable"
)

const (
	// maxSSHFiles is how many files of ~/.ssh are inspected.
	maxSSHFiles = 1000
	// maxKeyFile is the largest file that is taken for a private key, in bytes.
	maxKeyFile = 64 << 10
	// peekPEM is how much of a PEM file is read: its first line, and enough of the
	// next to see "Proc-Type", but no byte of a key.
	peekPEM = len("-----BEGIN RSA PRIVATE KEY-----\r\nProc")
	// peekOpenSSH is enough to see an OpenSSH file's cipher name and, unless it is
	// encrypted, its key type (PROTOCOL.key), which are at its start; keys come much
	// later.
	peekOpenSSH = 110
	// peekPPK is enough of a PuTTY file to see its second line, "Encryption".
	peekPPK = 120
)

// keyFile is a private key file in ~/.ssh.
type keyFile struct {
	path       string
	protection protection
	// protect is the command that sets a passphrase; "" if the file has one, or if
	// no tool is sure to read it.
	protect string
}

// protection is what keeps a key in a file from whoever can read the file.
type protection string

const (
	encrypted   protection = "with a passphrase"
	plaintext   protection = "without a passphrase"
	securityKey protection = "of a security key"
	tpmKey      protection = "of a TPM"
	pasted      protection = "as pasted text" // the opener finds out what protects it
)

// findKeyFiles returns the private key files in a folder, and the names of the other
// files that are not the public half or the certificate of one of them. It reads only
// the start of each file, and changes nothing.
func findKeyFiles(dir string) (found []keyFile, others []string) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxSSHFiles)
	slices.Sort(names) // so that a numbered list is the same every time
	keys := map[string]bool{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		f, ok := keyFile{}, false
		if info.Size() <= maxKeyFile && !strings.HasSuffix(name, ".pub") {
			f, ok = inspectKeyFile(path)
		}
		if !ok {
			others = append(others, name)
			continue
		}
		keys[name] = true
		if f.protect != "" && info.Mode().Perm()&0o077 != 0 { // ssh-keygen refuses it
			f.protect = "chmod 600 " + printable.Word(path) + " && " + f.protect
		}
		found = append(found, f)
	}
	return found, slices.DeleteFunc(others, func(name string) bool {
		stem, public := strings.CutSuffix(name, ".pub")
		return public && (keys[stem] || keys[strings.TrimSuffix(stem, "-cert")])
	})
}

// inspectKeyFile returns what the start of a file tells, if it is a private key.
func inspectKeyFile(path string) (keyFile, bool) {
	k := keyFile{path: path}
	f, err := durable.OpenRegular(path)
	if err != nil {
		return k, false
	}
	defer f.Close()
	b := make([]byte, peekPPK)
	defer guard.Wipe(b)
	n, _ := io.ReadFull(f, b[:peekPEM])
	head := b[:n]
	if text := bytes.TrimLeft(head, " \t\r\n>\"'`\ufeff"); len(text) < n {
		m, _ := io.ReadFull(f, b[n:][:n-len(text)]) // so much less of a key was read
		text = text[:len(text)+m]
		k.protection = pasted
		return k, bytes.HasPrefix(text, []byte(ppkMagic)) || bytes.HasPrefix(text, []byte(pemBegin)) && bytes.Contains(text, []byte("PRIVATE KEY"))
	}
	first, second, _ := bytes.Cut(head, []byte("\n"))
	first, dos := bytes.CutSuffix(first, []byte("\r"))
	label, isPEM := bytes.CutPrefix(first, []byte(pemBegin))
	label, whole := bytes.CutSuffix(label, []byte("PRIVATE KEY-----"))
	switch {
	case bytes.HasPrefix(first, []byte(ppkMagic)):
		m, _ := io.ReadFull(f, b[n:])
		k.protection = encrypted
		if bytes.Contains(b[:n+m], []byte("Encryption: none")) {
			k.protection, k.protect = plaintext, "puttygen "+printable.Word(path)+" -P"
		}
		return k, true
	case !isPEM:
		return k, false
	case !whole:
		k.protection = pasted
		return k, bytes.Contains(label, []byte("PRIVATE KEY"))
	}
	k.protection = plaintext
	switch string(label) {
	case "OPENSSH ":
		m, _ := io.ReadFull(f, b[n:peekOpenSSH])
		k.protection = openSSHProtection(b[:n+m])
	case "ENCRYPTED ":
		k.protection = encrypted
	case "TSS2 ":
		k.protection = tpmKey
	default:
		if bytes.HasPrefix(second, []byte("Pr")) { // "Proc-Type: 4,ENCRYPTED"
			k.protection = encrypted
		}
	}
	if k.protection == plaintext {
		k.protect = protectPEM(string(label), path, dos)
	}
	return k, true
}

// The starts of private key files.
const (
	pemBegin = "-----BEGIN "
	ppkMagic = "PuTTY-User-Key-File-"
)

// protectPEM returns the command that sets the passphrase of a PEM file, or "".
func protectPEM(label, path string, dos bool) string {
	switch label {
	case "": // PKCS#8: OpenSSH before 9.6 doesn't read every key type in it
		file, other := printable.Word(path), printable.Word(path+".new")
		return "openssl pkcs8 -topk8 -in " + file + " -out " + other + " && mv " + other + " " + file
	case "OPENSSH ", "RSA ", "EC ":
		if !dos { // ssh-keygen doesn't read CR LF
			return "ssh-keygen -p -f " + printable.Word(path)
		}
	}
	return ""
}

// openSSHProtection returns what protects the key in an OpenSSH private key file,
// which begins with head: a cipher that isn't "none", or the device that holds it.
func openSSHProtection(head []byte) protection {
	_, body, _ := bytes.Cut(head, []byte("\n"))
	line, _, _ := bytes.Cut(body, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	line = line[:len(line)/4*4]
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, _ := base64.StdEncoding.Decode(decoded, line)
	rest, plain := bytes.CutPrefix(decoded[:n], []byte("openssh-key-v1\x00\x00\x00\x00\x04none"))
	const toType = 4 + len("none") + 4 + 4 + 4 + 4 // derivation, its options, number of keys, public key, type
	switch {
	case !plain:
		return encrypted
	case len(rest) > toType && bytes.HasPrefix(rest[toType:], []byte("sk-")):
		return securityKey
	}
	return plaintext
}
