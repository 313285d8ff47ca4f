package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/paths"
)

// TestNewLogin: generators run in the order of their names, each with what the ones before
// it made; of two with one name the first folder's counts.
func TestNewLogin(t *testing.T) {
	const files = "#!/bin/sh\necho \"SSH_AUTH_SOCK=$XDG_RUNTIME_DIR/vigil/agent.sock\"\n"
	for name, tt := range map[string]struct {
		first, second map[string]string // folders of programs; "": turned off
		socket, next  string
	}{
		"none":          {nil, nil, "", "vigilctl service enable"},
		"environment.d": {nil, map[string]string{ofFiles: files}, "/run/user/1/vigil/agent.sock", "shows the file that sets it last"},
		"GnuPG after it": {
			nil,
			map[string]string{ofFiles: files, ofGnuPG: "#!/bin/sh\n[ -n \"$SSH_AUTH_SOCK\" ] && echo 'SSH_AUTH_SOCK=/gpg'\n"},
			"/gpg", "take enable-ssh-support out of gpg-agent.conf",
		},
		"another's":      {nil, map[string]string{"50-mine": "#!/bin/sh\necho \"SSH_AUTH_SOCK=\\\"/a b\\\"\"\n"}, "/a b", "the environment generator 50-mine sets it"},
		"replaced":       {map[string]string{ofFiles: "#!/bin/sh\necho SSH_AUTH_SOCK=/first\n"}, map[string]string{ofFiles: files}, "/first", "shows the file"},
		"turned off":     {map[string]string{ofFiles: ""}, map[string]string{ofFiles: files}, "", "vigilctl service enable"},
		"one that fails": {nil, map[string]string{ofFiles: files, "99-fails": "#!/bin/sh\necho SSH_AUTH_SOCK=/fails\nexit 1\n"}, "/run/user/1/vigil/agent.sock", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var folders []string
			for _, programs := range []map[string]string{tt.first, tt.second} {
				dir := t.TempDir()
				folders = append(folders, dir)
				for name, text := range programs {
					path := filepath.Join(dir, name)
					err := os.WriteFile(path, []byte(text), 0o755)
					if text == "" {
						_ = os.Remove(path)
						err = os.Symlink(os.DevNull, path)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			socket, by := newLogin(t.Context(), map[string]string{"XDG_RUNTIME_DIR": "/run/user/1", paths.SocketVariable: "/now"}, folders)
			if socket != tt.socket {
				t.Errorf("got %q", socket)
			}
			if next := nextLogin(by); !strings.Contains(next, tt.next) {
				t.Errorf("advice: %q", next)
			}
		})
	}
}
