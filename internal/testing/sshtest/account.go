package sshtest

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// account is the user that the tests run as: vigiltest for root, else the caller.
type account struct {
	name     string
	uid, gid int
	change   bool // whether the uid differs from the caller's
}

func lookUpAccount() (account, error) {
	u, err := user.Current()
	if os.Getuid() == 0 {
		if u, err = user.Lookup(User); err != nil {
			return account{}, fmt.Errorf("root runs these tests as the user %s (make deps makes it): %w", User, err)
		}
	}
	if err != nil {
		return account{}, fmt.Errorf("look up the user running the tests: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("uid of %s: %w", u.Username, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return account{}, fmt.Errorf("gid of %s: %w", u.Username, err)
	}
	return account{name: u.Username, uid: uid, gid: gid, change: uid != os.Getuid()}, nil
}

// own changes a file's owner to the account.
func (a account) own(path string) error {
	if !a.change {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}
