package vault

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/ssh"

	"vigil/internal/control"
)

// maxCertificate is the size in bytes of the largest certificate file.
const maxCertificate = 64 << 10

// readCertificate reads an OpenSSH certificate file, which is public.
func readCertificate(f *os.File) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCertificate+1))
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if _, ok := key.(*ssh.Certificate); err != nil || !ok || len(text) > maxCertificate {
		return nil, control.Errorf(control.CodeFailed, "Give the file that ssh-keygen -s made: …-cert.pub.", "the certificate file isn't an OpenSSH certificate")
	}
	return key.Marshal(), nil
}

// certifies checks that a certificate is one for this key.
func certifies(cert, public []byte) error {
	key, err := ssh.ParsePublicKey(cert)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	if c, ok := key.(*ssh.Certificate); !ok || !bytes.Equal(c.Key.Marshal(), public) {
		return control.Errorf(control.CodeFailed, "Give the certificate of this key.", "the certificate is for another key")
	}
	return nil
}
