package main

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"

	"vigil/internal/control"
	"vigil/internal/durable"
	"vigil/internal/printable"
	"vigil/internal/pubkey"
)

// maxPublicFile is how much of a .pub file is read, in bytes. The largest key's line
// has under 4 KiB, and its comment may be long.
const maxPublicFile = 16 << 10

// publicBeside returns the public key in the .pub file beside a private key file, or
// nil if there is none that can be read.
func publicBeside(path string) []byte { return readPublic(path + ".pub") }

// readPublic returns the public key that a file begins with, or nil.
func readPublic(path string) []byte {
	f, err := durable.OpenRegular(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPublicFile))
	if err != nil {
		return nil
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return parsePublic(string(line))
}

// parsePublic returns the key of a .pub file's line, or nil.
func parsePublic(line string) []byte {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return nil
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || pubkey.Type(blob) != fields[0] {
		return nil
	}
	return blob
}

// strangePublic returns a notice if the .pub file beside a private key file belongs to
// another key than the one imported from it, or "".
func strangePublic(path string, k control.Key) string {
	blob := publicBeside(path)
	if blob == nil || pubkey.AuthorizedKey(blob, "") == k.PublicKey {
		return ""
	}
	return path + ".pub belongs to another key, " + pubkey.SHA256(blob) + ". `vigilctl show " + printable.Word(k.Name) + " --public` prints this one's."
}
