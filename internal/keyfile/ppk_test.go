package keyfile

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestPPKLinesEndAsPuTTYReadsThem compares with what puttygen 0.78 takes.
func TestPPKLinesEndAsPuTTYReadsThem(t *testing.T) {
	for _, file := range []string{"ed25519.ppk2", "p256.ppk2.aes", "rsa2048.ppk3"} {
		text := string(readFixture(t, file).data)
		ask := passphrase(fixturePassphrase)
		want := mustParse(t, []byte(text), ask)
		for name, changed := range map[string]string{
			"CR":                 strings.ReplaceAll(text, "\n", "\r"),
			"CR LF":              strings.ReplaceAll(text, "\n", "\r\n"),
			"text after the MAC": text + "more\n",
			"blank lines after":  text + "\r\n\n\r",
		} {
			k := mustParse(t, []byte(changed), ask)
			if !bytes.Equal(k.Encoding(), want.Encoding()) || k.Comment() != want.Comment() {
				t.Errorf("%s, %s: another key", file, name)
			}
		}
	}
}

func TestWrongPPKPassphraseBeyondASCII(t *testing.T) {
	f := readFixture(t, "ed25519.ppk2.aes")
	for given, hint := range map[string]bool{"wrong": false, "größer": true, "gr\xf6\xdfer": false} {
		_, err := Parse(f.data, passphrase(given))
		if !errors.Is(err, ErrWrongPassphrase) || strings.Contains(err.Error(), "code page") != hint {
			t.Errorf("%q: %v", given, err)
		}
	}
}
