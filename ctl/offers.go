package main

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/pubkey"

	"vigil/internal/paths"
)

// offeredKey is a public key that ssh may offer to a host: one that the agent lists, one of a
// file, or both.
type offeredKey struct {
	Key   control.Key `json:"key"`
	Agent bool        `json:"agent"`
	File  string      `json:"file,omitempty"` // its IdentityFile or CertificateFile
	// CutOff: a server with the default MaxAuthTries has ended the login before.
	CutOff bool `json:"cut_off,omitempty"`

	keyType string // as in its blob; "" if a private key file hides it
	// sum identifies the key or certificate: the hash of its blob, or "". For a plain key
	// that is its fingerprint.
	sum   string
	known bool // Key is what this agent's daemon tells of it
}

// order returns keys in ssh's order, and the agent's keys that it leaves out because of
// IdentitiesOnly. (OpenSSH: pubkey_prepare, whose comment "agent keys from the config file
// are preferred" leaves them in the agent's order.)
func order(agent, files, certificates []offeredKey, identitiesOnly bool) (offers, left []offeredKey) {
	offers = certificates
	var others []offeredKey
	for _, k := range agent {
		switch i := slices.IndexFunc(files, func(f offeredKey) bool { return f.sum != "" && f.sum == k.sum }); {
		case i >= 0:
			k.File = files[i].File
			files = slices.Delete(slices.Clone(files), i, i+1)
			offers = append(offers, k)
		case identitiesOnly:
			left = append(left, k)
		default:
			others = append(others, k)
		}
	}
	return slices.Concat(offers, others, files), left
}

// agentKeys returns what an agent lists, in its order. ssh-add asks it as ssh would, and
// leaves out the types that this release of OpenSSH doesn't know.
func (a *app) agentKeys(ctx context.Context, socket string) ([]offeredKey, error) {
	add, err := a.findProgram("ssh-add", "Install OpenSSH's client.", paths.SocketVariable+"="+socket)
	if err != nil {
		return nil, err
	}
	list := func(option string) ([]string, error) {
		out, err := add.Run(ctx, option)
		var status *exec.ExitError
		if errors.As(err, &status) && status.ExitCode() == 1 { // it has none
			return nil, nil
		}
		return strings.Split(strings.TrimSuffix(out, "\n"), "\n"), err
	}
	public, err := list("-L")
	if err != nil {
		return nil, err
	}
	shown, err := list("-l") // a certificate's fingerprint is its key's
	if err != nil || len(shown) != len(public) {
		return nil, errors.Join(errors.New("list the agent's keys: they changed meanwhile"), err)
	}
	var keys []offeredKey
	for i, line := range public {
		blob := parsePublic(line)
		k, ok := parseFingerprint(shown[i])
		if blob == nil || !ok {
			continue
		}
		k.keyType, k.sum, k.Agent = pubkey.Type(blob), pubkey.SHA256(blob), true
		k.Key.Type, k.Key.PublicKey = k.keyType, pubkey.AuthorizedKey(blob, "")
		keys = append(keys, k)
	}
	return keys, nil
}

// parseFingerprint reads a line of ssh-add -l or ssh-keygen -l.
func parseFingerprint(line string) (k offeredKey, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return k, false
	}
	bits, err := strconv.Atoi(fields[0])
	last := len(fields) - 1
	k.Key = control.Key{Bits: bits, Fingerprint: fields[1], Comment: strings.Join(fields[2:last], " "), Type: strings.Trim(fields[last], "()")}
	return k, err == nil
}

// identityFile returns the public key that ssh finds for an IdentityFile, which may name
// either half. ok is false if there is no such file. (OpenSSH: sshkey_load_public.)
func (a *app) identityFile(ctx context.Context, path string) (k offeredKey, ok bool) {
	head := fileHead(path)
	blob := []byte(nil)
	if slices.ContainsFunc([]string{"ssh-", "ecdsa-", "sk-"}, func(begin string) bool { return strings.HasPrefix(head, begin) }) {
		blob = readPublic(path)
	}
	if blob == nil {
		blob = publicBeside(path)
	}
	switch {
	case blob != nil:
		k.keyType, k.sum, k.Key = pubkey.Type(blob), pubkey.SHA256(blob), control.PublicKey(blob)
		k.Key.Comment = "no comment" // as ssh-keygen says
	case head == openSSHBegin:
		if keygen, err := a.findProgram("ssh-keygen", ""); err == nil {
			out, _ := keygen.Run(ctx, "-l", "-f", path)
			k, _ = parseFingerprint(out)
			k.keyType, k.sum = sshType(k.Key), k.Key.Fingerprint
		}
	}
	k.File = path
	return k, blob != nil || head != ""
}

// openSSHBegin starts a private key file whose public half is in plaintext.
const openSSHBegin = pemBegin + "OPENSSH PRIVATE KEY"

// fileHead returns a file's first bytes, so few that none is a private key's.
func fileHead(path string) string {
	f, err := durable.OpenRegular(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, len(openSSHBegin))
	n, _ := f.Read(head)
	return string(head[:n])
}

// sshType returns the type of a key that ssh-keygen -l described.
func sshType(k control.Key) string {
	return map[string]string{
		"RSA": "ssh-rsa", "ED25519": "ssh-ed25519", "ECDSA": "ecdsa-sha2-nistp" + strconv.Itoa(k.Bits),
		"ED25519-SK": "sk-ssh-ed25519@openssh.com", "ECDSA-SK": "sk-ecdsa-sha2-nistp256@openssh.com",
	}[k.Type]
}

// filesOf returns the keys and certificates that ssh finds in files for a host, in the
// order of its configuration. (OpenSSH: load_public_identity_files.)
func (a *app) filesOf(ctx context.Context, c sshConfig) (files, certificates []offeredKey) {
	for _, name := range c["certificatefile"] {
		if path, ok := c.expand(name, a.env); ok {
			if k, ok := a.certificateFile(ctx, path); ok {
				certificates = append(certificates, k)
			}
		}
	}
	for _, name := range c["identityfile"] {
		path, ok := c.expand(name, a.env)
		if !ok || strings.EqualFold(name, "none") {
			continue
		}
		if k, ok := a.identityFile(ctx, path); ok {
			files = append(files, k)
		}
		if len(c["certificatefile"]) > 0 {
			continue
		}
		if k, ok := a.certificateFile(ctx, path+"-cert"); ok {
			files = append(files, k)
		}
	}
	return files, certificates
}

// certificateFile returns the certificate in a file or in the .pub file beside it.
func (a *app) certificateFile(ctx context.Context, path string) (k offeredKey, ok bool) {
	if fileHead(path) == "" {
		path += ".pub"
	}
	blob := readPublic(path)
	if !isCertificate(pubkey.Type(blob)) {
		return k, false
	}
	if keygen, err := a.findProgram("ssh-keygen", ""); err == nil {
		out, _ := keygen.Run(ctx, "-l", "-f", path)
		k, _ = parseFingerprint(out)
	}
	k.keyType, k.sum, k.File = pubkey.Type(blob), pubkey.SHA256(blob), filepath.Clean(path)
	k.Key.Type, k.Key.PublicKey = k.keyType, pubkey.AuthorizedKey(blob, "")
	return k, true
}

func isCertificate(keyType string) bool {
	return strings.HasSuffix(keyType, "-cert-v01@openssh.com") || strings.HasSuffix(keyType, "-cert")
}
