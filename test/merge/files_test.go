package merge

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/internal/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigil-opener", "vigilctl") }

// patience bounds the wait for the daemon to notice a file.
const patience = 20 * time.Second

// home is a device with an unlocked vault.
type home struct {
	*testing.T
	dir, vault string
	env        []string
}

func newHome(t *testing.T) *home {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "g") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &home{T: t, dir: dir, env: sshtest.VigilEnvironment(dir)}
	pass := filepath.Join(dir, "pass")
	if err := os.WriteFile(pass, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := sshtest.StartVigild(dir, sshtest.Binary(t, "vigild"), h.env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	h.ctl("init", "--unlock", "--passphrase-file", pass, "--kdf-memory=64", "--kdf-time=3", "--kdf-parallelism=1")
	var status struct {
		Vaults []struct{ Path string }
	}
	if err := json.Unmarshal([]byte(h.ctl("status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	h.vault = status.Vaults[0].Path
	return h
}

func (h *home) run(dir, name string, args ...string) string {
	h.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), h.env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		h.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String()
}

func (h *home) ctl(args ...string) string {
	h.Helper()
	return h.run(h.dir, sshtest.Binary(h, "vigilctl"), args...)
}

// git runs git in the vault's folder.
func (h *home) git(args ...string) string {
	h.Helper()
	return h.run(filepath.Dir(h.vault), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
}

// names are the keys that can be used now.
func (h *home) names() (names []string) {
	h.Helper()
	var list struct {
		Keys []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(h.ctl("list", "--json")), &list); err != nil {
		h.Fatal(err)
	}
	for _, k := range list.Keys {
		if k.State == "" {
			names = append(names, k.Name)
		}
	}
	return names
}

// expect waits until the daemon lists these keys.
func (h *home) expect(want ...string) {
	h.Helper()
	deadline := time.Now().Add(patience)
	got := h.names()
	for ; !slices.Equal(got, want) && time.Now().Before(deadline); got = h.names() {
	}
	if !slices.Equal(got, want) {
		h.Fatalf("keys are %v, want %v", got, want)
	}
}

// expectGone waits until the daemon has tidied a file away.
func (h *home) expectGone(path string) {
	h.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, err := os.Lstat(path)
		if os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("%s is still there: %v", filepath.Base(path), err)
		}
		h.ctl("version")
	}
}

// gitHistory makes two branches, each with a key that the other lacks.
func (h *home) gitHistory() {
	h.Helper()
	h.git("init", "-q", "-b", "main")
	h.git("add", "vault.jsonl", ".gitattributes")
	h.git("commit", "-q", "-m", "empty")
	h.git("branch", "other")
	h.ctl("generate", "ours")
	h.git("commit", "-q", "-a", "-m", "ours")
	h.git("checkout", "-q", "other")
	h.expect()
	h.ctl("generate", "theirs")
	h.expect("theirs")
	h.git("commit", "-q", "-a", "-m", "theirs")
}

func TestGitMergesByUnion(t *testing.T) {
	h := newHome(t)
	h.gitHistory()
	h.git("merge", "-q", "-m", "both", "main")
	h.expect("ours", "theirs")
	h.ctl("vault", "verify")
}

func TestGitMergesWithTheDriver(t *testing.T) {
	h := newHome(t)
	h.gitHistory()
	attributes := filepath.Join(filepath.Dir(h.vault), ".git", "info", "attributes")
	if err := os.MkdirAll(filepath.Dir(attributes), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(attributes, []byte("vault.jsonl -text merge=vigil\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.git("config", "merge.vigil.driver", sshtest.Binary(t, "vigilctl")+" vault merge-driver %O %A %B")
	h.git("merge", "-q", "-m", "both", "main")
	h.expect("ours", "theirs")
	merged, err := os.ReadFile(h.vault)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(merged, []byte(`{"vigil":`)); n != 1 {
		t.Errorf("the merged file has %d headers", n)
	}
}

// A removed key stays removed, whatever a merge brings back.
func TestGitDoesNotBringBackWhatWasRemoved(t *testing.T) {
	h := newHome(t)
	h.ctl("generate", "old")
	h.git("init", "-q", "-b", "main")
	h.git("add", "vault.jsonl", ".gitattributes")
	h.git("commit", "-q", "-m", "old")
	h.ctl("rm", "--yes", "old")
	h.ctl("generate", "new")
	h.git("checkout", "-q", "vault.jsonl")
	h.expect()
	h.ctl("generate", "newer")
	h.expect("newer")
}

// What sync tools leave beside the file when two devices wrote it.
func TestConflictCopiesAreTakenInAndTidiedAway(t *testing.T) {
	for _, name := range []string{
		"vault.sync-conflict-20261123-101112-ABCDEFG.jsonl",  // Syncthing
		"vault (laptop's conflicted copy 2026-11-23).jsonl",  // Dropbox
		"vault (Conflicted copy from laptop 20261123).jsonl", // others
		"vault (conflicted copy).jsonl",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			h.ctl("generate", "first")
			other, err := os.ReadFile(h.vault)
			if err != nil {
				t.Fatal(err)
			}
			header := other[:bytes.IndexByte(other, '\n')+1]
			// The tool moves this device's file away and brings another's, which
			// lacks the key.
			replace(t, filepath.Join(filepath.Dir(h.vault), name), other)
			replace(t, h.vault, header)
			h.expectGone(filepath.Join(filepath.Dir(h.vault), name))
			h.expect("first")
			h.ctl("vault", "verify")
		})
	}
}

// A copy of another vault, or one that is damaged, stays where it is.
func TestAForeignCopyIsLeftAlone(t *testing.T) {
	h := newHome(t)
	h.ctl("generate", "first")
	copied := filepath.Join(filepath.Dir(h.vault), "vault (conflicted copy).jsonl")
	replace(t, copied, []byte("{\"vigil\":\"vault\",\"version\":1,\"vault\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}\n"))
	h.ctl("generate", "second")
	h.expect("first", "second")
	if _, err := os.Stat(copied); err != nil {
		t.Errorf("the copy is gone: %v", err)
	}
}

// replace puts a file in place as sync tools do: whole, by rename.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}
