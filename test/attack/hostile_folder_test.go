package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigil/internal/control"
	"vigil/internal/id"
	"vigil/internal/testing/sshtest"
	"vigil/internal/vaultfile"
)

// answerWithin bounds a command that must not hang. It is far above what one takes.
const answerWithin = time.Minute

// notFiles are what somebody can put where Vigil expects a file.
var notFiles = []struct {
	name string
	put  func(t *testing.T, path string) error
}{
	{"a pipe that nobody writes to", func(_ *testing.T, path string) error { return syscall.Mkfifo(path, 0o600) }},
	{"a link to an endless device", func(_ *testing.T, path string) error { return os.Symlink("/dev/zero", path) }},
	{"a link to itself", func(_ *testing.T, path string) error { return os.Symlink(path, path) }},
	{"a folder", func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }},
	{"a socket", func(t *testing.T, path string) error {
		// Bound under a short name: the path of a socket has 108 bytes at most.
		short := filepath.Join(sshtest.NewDir(t), "s")
		l, err := net.Listen("unix", short)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		return os.Rename(short, path)
	}},
	{"a file of a terabyte without a byte", func(_ *testing.T, path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
	}},
}

// promptly runs vigilctl, which must end.
func promptly(h *sshtest.Home, args ...string) sshtest.Result {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), answerWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, sshtest.Binary(h, "vigilctl"), args...)
	cmd.Env = append(os.Environ(), h.Env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run()
	if ctx.Err() != nil {
		h.Fatalf("vigilctl %s hangs", strings.Join(args, " "))
	}
	return sshtest.Result{Out: out.String(), Err: errOut.String(), Status: cmd.ProcessState.ExitCode()}
}

// unharmed checks that a vault serves: it answers, signs and takes a key.
func unharmed(h *sshtest.Home, fresh string) {
	h.Helper()
	for _, args := range [][]string{{"status"}, {"doctor"}, {"vault", "verify"}, {"vault", "history"}, {"list"}} {
		promptly(h, args...)
	}
	h.Signs("shared")
	if r := promptly(h, "generate", fresh); r.Status != sshtest.StatusDone {
		h.Errorf("no key can be added: %s", r)
	}
}

// same reports whether what is at a path is what was found there before.
func same(path string, before fs.FileInfo) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(before, now) && now.Mode() == before.Mode()
}

// TestWhatIsNoVaultFileIsTold: who syncs the vault file puts something else in its
// place, while the vault is unlocked and while it is locked. Vigil goes on serving,
// says which file it is, and leaves it alone. Promise 7.
func TestWhatIsNoVaultFileIsTold(t *testing.T) {
	t.Parallel()
	for _, thing := range notFiles {
		t.Run(thing.name, func(t *testing.T) {
			t.Parallel()
			h := sshtest.NewHome(t, ownerPassphrase)
			h.Start()
			h.Found("", "")
			h.AddKey("shared")
			path := h.VaultFile()
			if err := errors.Join(os.Rename(path, path+".good"), thing.put(t, path)); err != nil {
				t.Fatal(err)
			}
			put, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			sshtest.Eventually(t, "status tells of it", func() error {
				if r := promptly(h, "status"); !strings.Contains(r.Out, "problem") || !strings.Contains(r.Out, "next") {
					return errors.New(r.String())
				}
				return nil
			})
			h.Signs("shared")
			for _, args := range [][]string{{"generate", "x"}, {"refresh"}, {"vault", "verify"}} {
				if r := promptly(h, args...); r.Status == sshtest.StatusDone || !same(path, put) {
					t.Errorf("%s: %s; left alone: %v", args[0], r, same(path, put))
				}
			}
			promptly(h, "doctor")
			promptly(h, "lock")
			for _, args := range [][]string{h.By("unlock"), h.By(append([]string{"init"}, sshtest.CheapKDF...)...)} {
				if r := promptly(h, args...); r.Status == sshtest.StatusDone || !strings.Contains(r.Err, path) || !same(path, put) {
					t.Errorf("%s: %s; left alone: %v", args[0], r, same(path, put))
				}
			}
			if err := errors.Join(os.RemoveAll(path), os.Rename(path+".good", path)); err != nil {
				t.Fatal(err)
			}
			h.Unlock()
			h.Signs("shared")
		})
	}
}

// TestWhatLiesBesideAVaultFile: who syncs the vault file puts what is no file beside
// it, under every name that Vigil reads there. Promise 7.
func TestWhatLiesBesideAVaultFile(t *testing.T) {
	t.Parallel()
	for _, thing := range notFiles {
		t.Run(thing.name, func(t *testing.T) {
			t.Parallel()
			h := sshtest.NewHome(t, ownerPassphrase)
			h.Start()
			h.Found("", "")
			h.AddKey("shared")
			dir := filepath.Dir(h.VaultFile())
			_ = os.Remove(filepath.Join(dir, ".gitattributes"))
			for i, name := range []string{
				"vault (conflicted copy).jsonl", ".gitattributes", ".vault.jsonl.tmp-0123abcd",
				".history/vault.jsonl.20990101T000000.000000000Z",
			} {
				path := filepath.Join(dir, name)
				if err := thing.put(t, path); err != nil {
					t.Fatal(err)
				}
				unharmed(h, fmt.Sprint("fresh", i))
			}
			promptly(h, "lock")
			h.Unlock()
			unharmed(h, "last")
		})
	}
}

// TestABadConflictCopyIsToldOnce: who syncs the vault file puts a copy beside it
// that can't be taken in, and touches it again and again. Status names the copy for
// as long as it lies there, and the log doesn't grow with it. Promise 7.
func TestABadConflictCopyIsToldOnce(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	h.Start()
	h.Found("", "")
	h.AddKey("shared")
	copied := filepath.Join(filepath.Dir(h.VaultFile()), "vault.sync-conflict-1.jsonl")
	if err := errors.Join(os.WriteFile(copied, nil, 0o600), os.Truncate(copied, 1<<40)); err != nil {
		t.Fatal(err)
	}
	told := func() error {
		if v := h.Vault(); !strings.Contains(v.Problem, filepath.Base(copied)) || v.Next == "" || v.State != control.VaultUnlocked {
			return fmt.Errorf("status says %+v", v)
		}
		return nil
	}
	sshtest.Eventually(t, "status names the copy", told)
	good := filepath.Join(filepath.Dir(copied), "vault.sync-conflict-2.jsonl")
	for range 3 {
		if err := os.Chtimes(copied, time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(good, h.Read(h.VaultFile()), 0o600); err != nil {
			t.Fatal(err)
		}
		sshtest.Eventually(t, "a good copy is taken in after a look at the bad one", func() error {
			if _, err := os.Lstat(good); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("it is there: %v", err)
			}
			return told()
		})
	}
	if n := strings.Count(string(h.Read(h.Agent.LogFile)), "conflict copies can't be taken in"); n != 1 {
		t.Errorf("the log tells of it in %d lines", n)
	}
	if r := h.OK("why"); !strings.Contains(r.Out, filepath.Base(copied)) {
		t.Errorf("why doesn't tell: %s", r)
	}
	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, "status is content again", func() error {
		if v := h.Vault(); v.Problem != "" {
			return errors.New(v.Problem)
		}
		return nil
	})
}

// TestAPipeBetweenLookAndOpen: who syncs the vault file swaps it with a pipe as fast
// as they can, so that some looks find a file and open the pipe. The vault is
// followed, served and written to afterwards as before. Promise 7.
func TestAPipeBetweenLookAndOpen(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	h.Start()
	h.Found("", "")
	h.AddKey("shared")
	path := h.VaultFile()
	pipe, good := path+".pipe", path+".good"
	if err := errors.Join(os.Link(path, good), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		for range 2000 {
			_ = os.Rename(pipe, path)
			_ = os.Rename(good, path)
			_ = os.Link(path, good)
			_ = syscall.Mkfifo(pipe, 0o600)
		}
		promptly(h, "status")
	}
	_ = os.Remove(pipe)
	h.Signs("shared")
	sshtest.Eventually(t, "the vault takes a key", func() error {
		if r := promptly(h, "generate", "after"); r.Status != sshtest.StatusDone {
			return errors.New(r.String())
		}
		return nil
	})
	// The watcher follows the file still.
	if err := os.WriteFile(path, append(h.Read(path), vaultfile.Header(id.Vault{9})...), 0o600); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, "status tells of a file that can't be used", func() error {
		if h.Vault().Problem == "" {
			return errors.New("it is content")
		}
		return nil
	})
}

// TestAFileThatGrowsWhileItIsRead: who syncs the vault file writes a conflict copy
// that never ends. Promise 7.
func TestAFileThatGrowsWhileItIsRead(t *testing.T) {
	t.Parallel()
	h := sshtest.NewHome(t, ownerPassphrase)
	h.Start()
	h.Found("", "")
	h.AddKey("shared")
	f, err := os.Create(filepath.Join(filepath.Dir(h.VaultFile()), "vault (conflicted copy).jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, stop := context.WithCancel(t.Context())
	grown := make(chan struct{})
	go func() {
		defer close(grown)
		block := make([]byte, 64<<10)
		for n := 0; n < 1000 && ctx.Err() == nil; n++ { // 64 MiB at most
			_, _ = f.Write(block)
			time.Sleep(time.Millisecond)
		}
	}()
	unharmed(h, "meanwhile")
	stop()
	<-grown
	unharmed(h, "afterwards")
}

// TestOtherFilesThatAreNone: a program that can write to the user's folders puts what
// is no file wherever else Vigil reads one. Each command ends, and the daemon serves.
// Promise 7.
func TestOtherFilesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, thing := range notFiles {
		t.Run(thing.name, func(t *testing.T) {
			t.Parallel()
			h := sshtest.NewHome(t, ownerPassphrase)
			h.Start()
			h.Found("", "")
			h.AddKey("shared")
			h.Write("dir/x", "")
			bad := h.Path("dir/bad")
			if err := thing.put(t, bad); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{
				{"add", bad},
				{"edit", "shared", "--certificate", bad},
				{"add", h.Path("dir/x"), "--certificate", bad},
				h.By("identity", "admit", bad),
				{"edit", "shared", "--destination", "h", "--known-hosts", bad},
				{"vault", "merge", bad, bad, "--output", h.Path("merged")},
			} {
				if r := promptly(h, args...); r.Status == sshtest.StatusDone || r.Err == "" {
					t.Errorf("%s: %s", strings.Join(args, " "), r)
				}
			}
			for _, places := range groups(t, h, thing.name) {
				swapped := h.Path("dir/swapped")
				if err := os.Mkdir(swapped, 0o700); err != nil {
					t.Fatal(err)
				}
				for i, path := range places {
					_ = os.Rename(path, filepath.Join(swapped, fmt.Sprint(i))) // if there is one
					if err := thing.put(t, path); err != nil {
						t.Fatal(err)
					}
				}
				for _, args := range [][]string{{"status"}, {"doctor"}, {"refresh"}, {"lock"}, h.By("unlock")} {
					promptly(h, args...)
				}
				for i, path := range places {
					if err := os.RemoveAll(path); err != nil {
						t.Fatal(err)
					}
					_ = os.Rename(filepath.Join(swapped, fmt.Sprint(i)), path)
				}
				if err := os.RemoveAll(swapped); err != nil {
					t.Fatal(err)
				}
			}
			promptly(h, "refresh")
			h.Unlock()
			h.Signs("shared")
		})
	}
}

// groups are the files of a home that Vigil reads unasked: one at a time for a pipe,
// which holds up whoever comes first, and together for the others.
func groups(t *testing.T, h *sshtest.Home, thing string) (list [][]string) {
	t.Helper()
	if err := os.MkdirAll(h.Path(".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	places := []string{h.Path("state/vigil/names.json"), h.Path("config/vigil/config.toml"), h.Path("config/vigil/vaults.d/default.toml"), h.Path(".ssh/config")}
	for _, pattern := range []string{"state/vigil/vaults/*/*", "data/vigil/device/*", "data/vigil/*/*/members", "data/vigil/*/*/deks"} {
		found, err := filepath.Glob(h.Path(pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing found, %v", pattern, err)
		}
		places = append(places, found...)
	}
	if thing != notFiles[0].name {
		return [][]string{places[:1], places[1:2], places[2:]}
	}
	for _, path := range places {
		list = append(list, []string{path})
	}
	return list
}
