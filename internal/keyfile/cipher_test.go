package keyfile

import (
	"bytes"
	"encoding/hex"
	"os/exec"
	"testing"

	"vigil/internal/wire"
)

// TestCiphersThatOpenSSHDropped reads files under the ciphers that no ssh-keygen of today
// knows. OpenSSL encrypts them.
func TestCiphersThatOpenSSHDropped(t *testing.T) {
	_, k := plain(t)
	for _, c := range []struct {
		name, openssl string
		key           int
		skip          int // bytes of the stream that are thrown away
	}{
		{"blowfish-cbc", "bf-cbc", 16, 0},
		{"cast128-cbc", "cast5-cbc", 16, 0},
		{"arcfour", "rc4", 16, 0},
		{"arcfour128", "rc4", 16, 1536},
	} {
		t.Run(c.name, func(t *testing.T) {
			const salt, rounds, iv = "0123456789abcdef", 2, 8
			derived := bcryptPBKDF([]byte(fixturePassphrase), []byte(salt), rounds, c.key+iv)
			args := []string{
				"enc", "-" + c.openssl, "-provider", "legacy", "-provider", "default", "-nopad",
				"-K", hex.EncodeToString(derived[:c.key]),
			}
			if c.openssl != "rc4" {
				args = append(args, "-iv", hex.EncodeToString(derived[c.key:]))
			}
			cmd := exec.Command("openssl", args...)
			cmd.Stdin = bytes.NewReader(append(make([]byte, c.skip), private(k.Encoding(), "c")...))
			sealed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			file := opensshParts{
				cipher: c.name, kdf: "bcrypt", options: wire.AppendUint32(strs(salt), rounds),
				keys: 1, public: k.Public(), private: sealed[c.skip:],
			}.file()
			if got := mustParse(t, file, passphrase(fixturePassphrase)); !bytes.Equal(got.Encoding(), k.Encoding()) {
				t.Error("another key")
			}
		})
	}
}
