package merge

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigil-opener", "vigilctl") }

// home is a device with an unlocked vault.
type home struct {
	*sshtest.Home
	vault string // its file
}

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{Home: sshtest.NewHome(t, "correct horse")}
	h.Start()
	h.OK(append(h.By("init", "--unlock"), sshtest.CheapKDF...)...)
	h.vault = h.Vault().Path
	return h
}

// git runs git in the vault's folder.
func (h *home) git(args ...string) {
	h.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
	cmd.Dir, cmd.Env = filepath.Dir(h.vault), append(os.Environ(), h.Env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// names are the keys that can be used now.
func (h *home) names() (names []string) {
	h.Helper()
	var list struct {
		Keys []struct{ Name, State string }
	}
	h.JSON(&list, "list")
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
	sshtest.Eventually(h, "the list of keys", func() error {
		if got := h.names(); !slices.Equal(got, want) {
			return fmt.Errorf("keys are %v, want %v", got, want)
		}
		return nil
	})
}

// expectGone waits until the daemon has tidied a file away.
func (h *home) expectGone(path string) {
	h.Helper()
	sshtest.Eventually(h, "the file is gone", func() error {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is still there: %v", filepath.Base(path), err)
		}
		return nil
	})
}

// gitHistory makes two branches, each with a key that the other lacks.
func (h *home) gitHistory() {
	h.Helper()
	h.git("init", "-q", "-b", "main")
	h.git("add", "vault.jsonl", ".gitattributes")
	h.git("commit", "-q", "-m", "empty")
	h.git("branch", "other")
	h.OK("generate", "ours")
	h.git("commit", "-q", "-a", "-m", "ours")
	h.git("checkout", "-q", "other")
	h.expect()
	h.OK("generate", "theirs")
	h.expect("theirs")
	h.git("commit", "-q", "-a", "-m", "theirs")
}

func TestGitMergesByUnion(t *testing.T) {
	h := newHome(t)
	h.gitHistory()
	h.git("merge", "-q", "-m", "both", "main")
	h.expect("ours", "theirs")
	h.OK("vault", "verify")
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
	h.OK("generate", "old")
	h.git("init", "-q", "-b", "main")
	h.git("add", "vault.jsonl", ".gitattributes")
	h.git("commit", "-q", "-m", "old")
	h.OK(h.By("rm", "--yes", "old")...)
	h.OK("generate", "new")
	h.git("checkout", "-q", "vault.jsonl")
	h.expect()
	h.OK("generate", "newer")
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
			t.Parallel()
			h := newHome(t)
			h.OK("generate", "first")
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
			h.OK("vault", "verify")
		})
	}
}

// A sync tool makes its copy first and brings the other device's file then; vigild
// may have looked in between, when the file still held all that the copy holds.
func TestACopyOutlivesTheFileItWasTakenFrom(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.OK("generate", "first")
	ours := h.Read(h.vault)
	copied := filepath.Join(filepath.Dir(h.vault), "vault (conflicted copy).jsonl")
	replace(t, copied, ours)
	sshtest.Eventually(t, "vigild looks at the copy", func() error {
		log, err := os.ReadFile(h.Agent.LogFile)
		if err == nil && !bytes.Contains(log, []byte("took in a conflict copy")) {
			err = errors.New("not yet")
		}
		return err
	})
	replace(t, h.vault, ours[:bytes.IndexByte(ours, '\n')+1])
	sshtest.Eventually(t, "the file has the key again", func() error {
		if now := h.Read(h.vault); !bytes.Equal(now, ours) {
			return fmt.Errorf("%d bytes, want %d", len(now), len(ours))
		}
		return nil
	})
	h.expectGone(copied)
	h.expect("first")
	h.OK("vault", "verify")
}

// A tool that takes longer finds the copy gone: what it held is in the file's history.
func TestACopyThatIsGoneIsInTheHistory(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.OK("generate", "first")
	ours := h.Read(h.vault)
	copied := filepath.Join(filepath.Dir(h.vault), "vault (conflicted copy).jsonl")
	replace(t, copied, ours)
	h.expectGone(copied)
	replace(t, h.vault, ours[:bytes.IndexByte(ours, '\n')+1])
	h.expect()
	generations, err := filepath.Glob(filepath.Join(filepath.Dir(h.vault), ".history", "vault.jsonl.*"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(generations, func(path string) bool { return bytes.Equal(h.Read(path), ours) })
	if i < 0 {
		t.Fatalf("none of %q has the key", generations)
	}
	h.OK("vault", "merge", h.vault, generations[i], "--output", h.vault)
	h.expect("first")
}

// A copy of another vault, or one that is damaged, stays where it is.
func TestAForeignCopyIsLeftAlone(t *testing.T) {
	h := newHome(t)
	h.OK("generate", "first")
	copied := filepath.Join(filepath.Dir(h.vault), "vault (conflicted copy).jsonl")
	replace(t, copied, []byte("{\"vigil\":\"vault\",\"version\":1,\"vault\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}\n"))
	h.OK("generate", "second")
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
