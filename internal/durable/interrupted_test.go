package durable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Every step that fails leaves the old file or the new one, says which, and
// leaves no temporary file.
func TestFailureAtEachStep(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EDQUOT} {
		for at := 1; ; at++ {
			path := file(t)
			n, step := 0, ""
			err := replace(func(s string) error {
				if n++; n == at {
					step = s
					return errno
				}
				return nil
			}, path, []byte(newContent), Options{Keep: true})
			if step == "" {
				if err != nil || at < 8 {
					t.Fatalf("%d steps, %v", at-1, err)
				}
				break
			}
			var we *WriteError
			if !errors.Is(err, errno) || !errors.As(err, &we) || we.Path != path || we.Step != step {
				t.Fatalf("%s: %v", step, err)
			}
			want := oldContent
			if we.Replaced {
				want = newContent
			}
			if got := read(t, path); got != want {
				t.Errorf("%s: %v, and the file holds %q", step, err, got)
			}
			if got := names(t, filepath.Dir(path)); strings.Contains(got, tmpTag) {
				t.Errorf("%s: left %s", step, got)
			}
		}
	}
}

// A file on which any step fails or is killed takes the next write.
func TestKillAtEachStep(t *testing.T) {
	for at := 1; ; at++ {
		path := file(t)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), helper+"="+path, fmt.Sprintf("%s=%d", killStep, at))
		out, err := cmd.Output()
		if err == nil {
			if string(out) != "<nil>" || read(t, path) != newContent || at < 8 {
				t.Fatalf("killed nowhere before step %d: %s", at, out)
			}
			break
		}
		if got := read(t, path); got != oldContent && got != newContent {
			t.Fatalf("killed at step %d: the file holds %q", at, got)
		}
		killed := read(t, path)
		if err := Replace(path, []byte("third"), Options{Keep: true}); err != nil {
			t.Fatal(err)
		}
		if got := names(t, filepath.Dir(path)); strings.Contains(got, tmpTag) {
			t.Errorf("killed at step %d: %s is left after another write", at, got)
		}
		list, err := History(path)
		if err != nil || len(list) == 0 {
			t.Fatalf("killed at step %d: history %v, %v", at, list, err)
		}
		if got, err := ReadGeneration(path, list[0].Name); err != nil || string(got) != killed {
			t.Errorf("killed at step %d: newest generation %q, %v", at, got, err)
		}
		if len(list) > 1 { // no generation twice
			if got, _ := ReadGeneration(path, list[1].Name); string(got) == killed {
				t.Errorf("killed at step %d: kept twice", at)
			}
		}
	}
}

// A disk that is really full.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("can't mount a small disk: %v, %s", err, out)
	}
	defer exec.Command("umount", dir).Run()
	path := filepath.Join(dir, "vault.jsonl")
	if err := Replace(path, []byte(oldContent), Options{}); err != nil {
		t.Fatal(err)
	}
	err := Replace(path, bytes.Repeat([]byte("x"), 1<<20), Options{Keep: true})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the file is unchanged") {
		t.Errorf("full disk: %v", err)
	}
	if got := read(t, path); got != oldContent {
		t.Errorf("the file holds %q", got)
	}
	if got := names(t, dir); got != "vault.jsonl" {
		t.Errorf("folder holds %s", got)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v, %s", err, out)
	}
	if err := Replace(path, []byte(newContent), Options{}); !errors.Is(err, syscall.EROFS) || read(t, path) != oldContent {
		t.Errorf("read-only disk: %v", err)
	}
}
