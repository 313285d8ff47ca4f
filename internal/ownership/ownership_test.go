package ownership

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

const (
	passwd = "root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\nben:x:1001:1001::/home/ben:/bin/sh\ncem:x:1002:100::/home/cem:/bin/sh\n# a comment\n+::::::\n"
	group  = "root:x:0:\nusers:x:100:\nana:x:1000:\nben:x:1001:ana,ben\nself:x:2000:ana,root\nteam:x:2001:ana,cem\nghost:x:2002:gone\n2003\n+:::\n"
)

func TestAGroupWithoutOtherMembersIsTheUsersOwn(t *testing.T) {
	for _, c := range []struct {
		name     string
		uid, gid int
		want     bool
	}{
		{"the user's own group", 1000, 1000, true},
		{"a group that lists this user and root", 1000, 2000, true},
		{"another's group that lists this user", 1000, 1001, false},
		{"the user's own group, which lists another", 1001, 1001, false},
		{"a group that is another's first", 1000, 100, false},
		{"a group that lists another", 1000, 2001, false},
		{"a group that lists an account nobody knows", 1000, 2002, false},
		{"a group that isn't listed: a directory service may have it", 1000, 2003, false},
	} {
		if got := alone(passwd, group, c.uid, c.gid); got != c.want {
			t.Errorf("%s: alone = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOthersThatCanWrite(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		mode os.FileMode
		safe bool
	}{{0o700, true}, {0o755, true}, {0o757, false}, {0o777, false}, {0o777 | os.ModeSticky, true}} {
		if err := os.Chmod(dir, c.mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(dir, info); (err == nil) != c.safe {
			t.Errorf("a folder of mode %v: %v, safe is %v", c.mode, err, c.safe)
		}
	}
	file := filepath.Join(dir, "program")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The sticky bit of a file protects nothing.
	if err := os.Chmod(file, 0o702|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if Check(file, info) == nil {
		t.Error("a file that everyone can write counts as safe")
	}
}

// TestAProgramOfTheSystem is root's up to the root of the file system.
func TestAProgramOfTheSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has programs that belong to root")
	}
	for name, c := range map[string]struct {
		change func(program string) error
		safe   bool
	}{
		"root's": {func(string) error { return nil }, true},
		"in a shared folder, where others can't replace it": {func(p string) error { return os.Chmod(filepath.Dir(p), 0o777|os.ModeSticky) }, true},
		"written by others":                    {func(p string) error { return os.Chmod(p, 0o757) }, false},
		"written by others, with a sticky bit": {func(p string) error { return os.Chmod(p, 0o757|os.ModeSticky) }, false},
		"somebody's":                           {func(p string) error { return os.Chown(p, 1, 0) }, false},
		"in somebody's folder":                 {func(p string) error { return os.Chown(filepath.Dir(p), 1, 0) }, false},
		"in a folder that others can rename":   {func(p string) error { return os.Chmod(filepath.Dir(filepath.Dir(p)), 0o777) }, false},
		"in a folder of somebody's":            {func(p string) error { return os.Chown(filepath.Dir(filepath.Dir(p)), 1, 0) }, false},
		"a folder":                             {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }, false},
		"a link":                               {func(p string) error { return errors.Join(os.Rename(p, p+"2"), os.Symlink(p+"2", p)) }, false},
		"in a link to a folder": {func(p string) error {
			d := filepath.Dir(p)
			return errors.Join(os.Rename(d, d+"2"), os.Symlink(d+"2", d))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "above", "folder", "program")
			err := errors.Join(os.MkdirAll(filepath.Dir(program), 0o755), os.WriteFile(program, nil, 0o755), c.change(program))
			if err != nil {
				t.Fatal(err)
			}
			if err := System(program); (err == nil) != c.safe {
				t.Errorf("got %v, safe is %v", err, c.safe)
			}
		})
	}
	if err := System("/nonexistent/program"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}
