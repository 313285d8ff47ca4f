package pubkey

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// What ssh-keygen -l prints for the keys in testdata, by file name.
var shown = map[string]struct {
	bits        int
	sha256, md5 string
}{
	"rsa.pub":             {2048, "SHA256:OXyi1t9KtF/nDbKd+g0jxNervMyq5X5MvZFbrcsUhz0", "MD5:36:89:5a:b6:3e:b7:c6:1c:96:cf:ce:89:38:df:2d:b8"},
	"ec.pub":              {384, "SHA256:PknFZXd4Kd9rAgrTauM+OKuhysxXI1/RKgb5U9eZ4vE", "MD5:4a:52:0b:a4:ab:62:a5:a8:6f:41:32:4c:6e:2c:32:4c"},
	"ed.pub":              {256, "SHA256:+Y2iiTUH4j2YYgZsgomqjZiWeL1YXyBOITWNAU8WR1o", "MD5:33:9c:d0:a8:3b:5e:67:3a:10:f2:fd:2c:ba:03:e2:56"},
	"mldsa44-ed25519.pub": {256, "SHA256:DUMYsi0I30QnEAmztukh5mR1JSk2L/sId/qo6qdFKSA", ""},
	"rsa-cert.pub":        {2048, "", ""}, // ssh-keygen prints the plain key's fingerprint
}

func readLine(t *testing.T, name string) (line string, blob []byte, comment string) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	line = strings.TrimSuffix(string(data), "\n")
	fields := strings.SplitN(line, " ", 3)
	blob, err = base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return line, blob, fields[2]
}

func TestShowsWhatSSHKeygenShows(t *testing.T) {
	for name, want := range shown {
		t.Run(name, func(t *testing.T) {
			line, blob, comment := readLine(t, name)
			if got := Bits(blob); got != want.bits {
				t.Errorf("Bits %d, want %d", got, want.bits)
			}
			if got := SHA256(blob); want.sha256 != "" && got != want.sha256 {
				t.Errorf("SHA256 %s, want %s", got, want.sha256)
			}
			if got := MD5(blob); want.md5 != "" && got != want.md5 {
				t.Errorf("MD5 %s, want %s", got, want.md5)
			}
			if got := AuthorizedKey(blob, comment); got != line {
				t.Errorf("line %q, want %q", got, line)
			}
		})
	}
}

func TestAuthorizedKeyStaysOneLine(t *testing.T) {
	_, blob, _ := readLine(t, "ed.pub")
	line := AuthorizedKey(blob, "")
	for _, c := range []struct{ name, comment, want string }{
		{"none", "", line},
		{"a line end", "x\nssh-rsa AAAA", line + " x?ssh-rsa AAAA"},
		{"an escape sequence", "\x1b[2Jx", line + " ?[2Jx"},
		{"C1 control", "a\u009bb", line + " a?b"},
		{"right-to-left override", "a\u202eb", line + " a?b"},
		{"a line separator", "a\u2028b", line + " a?b"},
		{"bytes that are not UTF-8", "a\xffb", line + " a?b"},
		{"space around", " me@host ", line + " me@host"},
		{"letters of the world", "Zoë 鍵", line + " Zoë 鍵"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := AuthorizedKey(blob, c.comment); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestBlobsThatAreNoKeys(t *testing.T) {
	for _, c := range []struct{ name, blob string }{
		{"empty", ""},
		{"half a length", "\x00\x00"},
		{"a length beyond the end", "\x00\x00\x01\x00ssh-rsa"},
		{"an empty type", "\x00\x00\x00\x00"},
		{"a type with a space", "\x00\x00\x00\x03a b"},
		{"a type with a line end", "\x00\x00\x00\x03a\nb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := []byte(c.blob)
			if Type(b) != "" || AuthorizedKey(b, "c") != "" || Bits(b) != 0 {
				t.Errorf("type %q, line %q, bits %d", Type(b), AuthorizedKey(b, "c"), Bits(b))
			}
		})
	}
}

func FuzzBlob(f *testing.F) {
	for name := range shown {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		fields := strings.Fields(string(data))
		blob, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blob, fields[2])
	}
	f.Fuzz(func(t *testing.T, blob []byte, comment string) {
		if line := AuthorizedKey(blob, comment); strings.ContainsAny(line, "\n\r\x00\x1b") {
			t.Fatalf("line %q", line)
		}
		if b := Bits(blob); b < 0 || b > 8*len(blob) && b > 521 {
			t.Fatalf("%d bits", b)
		}
	})
}
