package daemon

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/control"
	"vigil/internal/ipc"
	"vigil/internal/keyfile"
	"vigil/internal/keypair"
	"vigil/internal/wire"
)

// devicePIN is the PIN of the security key behind beHelper.
const devicePIN = "correct-horse"

// beHelper is an ssh-sk-helper with a security key that asks for its PIN. The handles of its
// keys are their seeds.
func beHelper() int {
	request, err := ipc.Read(os.Stdin, 1<<16)
	if err != nil {
		return 1
	}
	r := wire.NewReader(request)
	version, kind := r.Byte(), r.Uint32()
	r.Byte()   // log on standard error
	r.Uint32() // log level
	encoding := wire.NewReader(r.String())
	r.String() // provider
	data := r.String()
	r.String() // algorithm
	r.Uint32() // compatibility
	pin := string(r.String())
	token, err := keypair.ReadToken(&encoding, string(encoding.String()))
	if err != nil || r.End() != nil || version != 5 || kind != 1 {
		return 1
	}
	reply := wire.AppendUint32([]byte{version}, 0)
	reply = wire.AppendUint32(reply, 43)
	if pin == devicePIN {
		application, message := sha256.Sum256(token.Application), sha256.Sum256(data)
		signed := binary.BigEndian.AppendUint32(append(application[:], token.Flags), 1)
		signed = append(signed, message[:]...)
		sig := wire.AppendString(nil, token.Type)
		sig = wire.AppendString(sig, ed25519.Sign(ed25519.NewKeyFromSeed(token.Handle), signed))
		sig = wire.AppendUint32(append(sig, token.Flags), 1)
		reply = wire.AppendString(wire.AppendUint32([]byte{version}, kind), sig)
	}
	if ipc.Write(os.Stdout, 1<<16, reply) != nil {
		return 1
	}
	return 0
}

// verified returns a key file for a key that beHelper signs with once it has the PIN.
func verified(t *testing.T) string {
	t.Helper()
	private := newPrivate(t)
	b := wire.AppendString(wire.AppendString(nil, keypair.TokenEd25519), private.Public().(ed25519.PublicKey))
	b = append(wire.AppendString(b, "ssh:"), 5) // touched and verified
	b = wire.AppendString(wire.AppendString(b, private.Seed()), "")
	file, err := keyfile.MarshalOpenSSH(b, "verified", nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

// TestAPIN is asked for by the askpass program and reaches the device, or the reason why
// not is shown.
func TestAPIN(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has a helper that belongs to root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ssh-sk-helper")
	program, err := os.ReadFile(exe)
	if err == nil {
		err = os.WriteFile(path, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ askpass, reason string }{
		"right":               {"echo " + devicePIN, ""},
		"with a return":       {"printf '" + devicePIN + "\\r\\n'", ""},
		"wrong":               {"echo 1234", "doesn't take this PIN"},
		"empty":               {"echo", "none was given"},
		"declined":            {"exit 1", "declined"},
		"declined once typed": {"echo " + devicePIN + "; exit 1", "declined"},
		"longer than FIDO's":  {"printf '%070d' 0", "more than 63 bytes"},
		"nobody to ask":       {"", "no way to ask"},
	} {
		t.Run(name, func(t *testing.T) {
			dev := deviceOf(t)
			shown := filepath.Join(dev.root, "shown")
			if tt.askpass != "" {
				askpass := filepath.Join(dev.root, "askpass")
				text := fmt.Sprintf("#!/bin/sh\n[ \"$SSH_ASKPASS_PROMPT\" = none ] && exec sleep 600\necho \"$1\" >>%s\n%s\n", shown, tt.askpass)
				if err := os.WriteFile(askpass, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
				dev.askpass = []string{"PATH=/usr/bin:/bin", "SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force"}
			}
			dev.configure(fmt.Sprintf("security_key_helper = %q\n", path))
			dev.start()
			dev.init("")
			must(dev, &control.AddRequest{Name: "verified", KeyFile: text(t, verified(t))})
			err := sign(dev.agent(), dev.token())
			if (err == nil) != (tt.reason == "") {
				t.Fatalf("got %v; %q", err, dev.why())
			}
			if err != nil && !strings.Contains(dev.why()[0], tt.reason) {
				t.Errorf("why says %q, want %q", dev.why()[0], tt.reason)
			}
			if tt.askpass == "" {
				return
			}
			asked, err := os.ReadFile(shown)
			if err != nil || strings.Count(string(asked), "Enter the PIN") != 1 {
				t.Errorf("asked %q, %v", asked, err)
			}
		})
	}
}
