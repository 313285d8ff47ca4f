package ownership

import (
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
