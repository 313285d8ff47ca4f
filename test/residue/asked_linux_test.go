package residue

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"vigil/internal/testing/sshtest"
)

// askpass prints a line of the file that it is named after for each question, and waits
// before the second while there is a file wait.
const askpass = `#!/bin/sh
echo >>"$0.asked"
[ "$(wc -l <"$0.asked")" -lt 2 ] || while [ -e "$0.wait" ]; do sleep 0.01; done
exec sed -n "$(wc -l <"$0.asked")p" "$0.answers"
`

// TestNothingIsLeftOfWhatIsAskedFor: what a person typed at a prompt is in no process of
// Vigil's once it was found wrong, while the prompt asks again, nor once it was right. The
// front never reads the pipe through which it goes to the opener.
func TestNothingIsLeftOfWhatIsAskedFor(t *testing.T) {
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "a")
	check(t, err)
	program := filepath.Join(dir, "askpass")
	w := newWorld(t, "", "SSH_ASKPASS="+program, "SSH_ASKPASS_REQUIRE=force")
	wrong := random(t)
	for name, text := range map[string]string{"askpass": askpass, "askpass.answers": wrong + "\n" + string(w.pass) + "\n", "askpass.wait": ""} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700))
	}
	check(t, sshtest.Give(dir))
	for _, name := range []string{"askpass", "askpass.answers", "askpass.wait"} {
		check(t, sshtest.Give(filepath.Join(dir, name)))
	}
	w.vigilctl("init", "--passphrase-file", w.passFile, "--kdf-memory=64", "--kdf-parallelism=1")
	w.vigilctl("unlock", "--passphrase-file", w.passFile)
	w.vigilctl("generate", "laptop")
	opened, err := w.files().open(w.pass)
	check(t, err)
	w.vigilctl("lock")

	s := newSearch()
	check(t, s.add(form{name: "wrong", bytes: []byte(wrong)}, form{name: "right", bytes: w.pass[len(w.pass)-len(wrong):]}))
	find := func(when string, want ...string) { t.Helper(); w.nowhere(s, when, want...) }
	signed := make(chan error, 1)
	go func() {
		a, err := w.dial()
		if err == nil {
			defer a.Close()
			_, err = a.sign(opened.keys[0], []byte("data"))
		}
		signed <- err
	}()
	for asked := filepath.Join(dir, "askpass.asked"); ; <-time.After(10 * time.Millisecond) {
		if text, _ := os.ReadFile(asked); len(text) == 2 {
			break
		}
		if len(signed) > 0 {
			t.Fatalf("it wasn't asked twice: %v", <-signed)
		}
	}
	<-time.After(settle)
	find("while it is asked again", "front", "vigilctl")
	check(t, os.Remove(filepath.Join(dir, "askpass.wait")))
	check(t, <-signed)
	<-time.After(settle)
	find("unlocked", "front", "keeper")
}
