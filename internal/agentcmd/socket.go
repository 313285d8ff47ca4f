package agentcmd

import (
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vigil/internal/unixsock"
)

const (
	// defaultFolder is the folder of the sockets, below the home folder.
	defaultFolder = ".ssh/agent"
	// staleAge is how old a socket must be to count as left by a killed agent: the
	// agent of a newer one may still be starting.
	staleAge = time.Hour
	// hostLetters and socketLetters are how many letters of a socket's name
	// identify the host (hosts may share home folders) and how many are random.
	hostLetters   = 10
	socketLetters = 10
	// folderLetters is how many letters of -T's folder are random.
	folderLetters = 12
	// letters are OpenSSH's, in its order, so that either program cleans up after both.
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	// nameTries bounds the search for a name that is free.
	nameTries = 100
)

// place is where an agent listens.
type place struct {
	listener *unixsock.Listener
	socket   string // as clients are told
	folder   string // made for this agent only, and removed with it; or ""
}

// release closes the listener and removes the folder.
func (p *place) release() {
	_ = p.listener.Close() // its error is about a socket that is already gone
	if p.folder != "" {
		_ = os.Remove(p.folder)
	}
}

// listen makes the socket that the command line asks for. The socket has mode 0600,
// and new folders 0700; existing folders are used as they are.
func listen(c *Command, environ []string) (*place, error) {
	if c.Socket != "" {
		l, err := unixsock.Bind(c.Socket)
		return &place{listener: l, socket: c.Socket}, err
	}
	if c.Temporary {
		base := lookup(environ, "TMPDIR")
		if base == "" {
			base = "/tmp"
		}
		return listenInNewFolder(base)
	}
	kind, folder, err := where(c, environ)
	if err != nil {
		return nil, err
	}
	if kind == "shared" {
		return listenInNewFolder(folder)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	if !c.KeepStale {
		_ = removeStale(folder, false) // best effort; -u reports errors
	}
	return listenIn(folder)
}

// where parses -A: "user:FOLDER", relative to the home folder, or
// "shared:/FOLDER". The tokens are %h, %u, %U and %%.
func where(c *Command, environ []string) (kind, folder string, err error) {
	if c.Folder == "" {
		home, err := homeFolder(environ)
		return "user", filepath.Join(home, defaultFolder), err
	}
	kind, folder, ok := strings.Cut(c.Folder, ":")
	if !ok || kind != "user" && kind != "shared" {
		return "", "", fmt.Errorf("-A %s: want user:FOLDER or shared:/FOLDER", c.Folder)
	}
	if folder, err = expand(folder, environ); err != nil {
		return "", "", fmt.Errorf("-A %s: %w", c.Folder, err)
	}
	if !filepath.IsAbs(folder) {
		if kind == "shared" {
			return "", "", fmt.Errorf("-A %s: a shared folder's path is absolute", c.Folder)
		}
		home, err := homeFolder(environ)
		if err != nil {
			return "", "", err
		}
		folder = filepath.Join(home, folder)
	}
	return kind, folder, nil
}

// expand replaces the tokens of -A.
func expand(text string, environ []string) (string, error) {
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(text, "%")
		out.WriteString(before)
		if !ok {
			return out.String(), nil
		}
		if after == "" {
			return "", errors.New("a % at the end")
		}
		value, err := token(after[0], environ)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = after[1:]
	}
}

func token(letter byte, environ []string) (string, error) {
	switch letter {
	case '%':
		return "%", nil
	case 'h':
		return homeFolder(environ)
	case 'U':
		return strconv.Itoa(os.Getuid()), nil
	case 'u':
		u, err := user.LookupId(strconv.Itoa(os.Getuid()))
		if err != nil {
			return "", err
		}
		return u.Username, nil
	}
	return "", fmt.Errorf("unknown token %%%c", letter)
}

// homeFolder returns HOME, or the home folder in the user database.
func homeFolder(environ []string) (string, error) {
	if home := lookup(environ, "HOME"); home != "" {
		return home, nil
	}
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		return "", fmt.Errorf("find the home folder: HOME is not set, and %w", err)
	}
	if u.HomeDir == "" {
		return "", errors.New("find the home folder: HOME is not set, and the system knows none")
	}
	return u.HomeDir, nil
}

// listenIn binds a socket with a new name in a folder that agents share.
func listenIn(folder string) (*place, error) {
	host, err := hostPrefix()
	if err != nil {
		return nil, err
	}
	for range nameTries {
		path := filepath.Join(folder, fmt.Sprintf("%slocal.%d.%s", host, os.Getpid(), random(socketLetters)))
		l, err := unixsock.Bind(path)
		if errors.Is(err, fs.ErrExist) || isInUse(err) {
			continue
		}
		return &place{listener: l, socket: path}, err
	}
	return nil, fmt.Errorf("find a free name in %q: all are taken", folder)
}

// listenInNewFolder binds a socket in a new folder below base, which may be
// world-writable.
func listenInNewFolder(base string) (*place, error) {
	for range nameTries {
		folder := filepath.Join(base, "ssh-"+random(folderLetters))
		err := os.Mkdir(folder, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		path := filepath.Join(folder, fmt.Sprintf("agent.%d", os.Getpid()))
		l, err := unixsock.Bind(path)
		if err != nil {
			_ = os.Remove(folder)
		}
		return &place{listener: l, socket: path, folder: folder}, err
	}
	return nil, fmt.Errorf("find a free name in %q: all are taken", base)
}

// removeStale removes the sockets of killed agents from a folder: those that are
// at least an hour old and have no listener, made on this host unless anyHost.
func removeStale(folder string, anyHost bool) error {
	prefix, err := hostPrefix()
	if err != nil && !anyHost {
		return err
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		if e.Type() != fs.ModeSocket || !anyHost && !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		info, statErr := e.Info()
		if statErr != nil || time.Since(info.ModTime()) < staleAge {
			continue
		}
		path := filepath.Join(folder, e.Name())
		if alive, askErr := unixsock.Answers(path); alive || askErr != nil {
			continue
		}
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(append(errs, err)...)
}

// hostPrefix returns the prefix of the names of this host's sockets: "s.", the
// host's name hashed like OpenSSH's hostname_hash, and a dot.
func hostPrefix() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	return "s." + hostHash(name) + ".", nil
}

func hostHash(name string) string {
	sum := sha512.Sum512([]byte(name))
	hash := make([]byte, hostLetters)
	for i := range hash {
		hash[i] = letters[int(sum[i])%len(letters)]
	}
	return string(hash)
}

// random returns n unguessable letters.
func random(n int) string {
	const fair = 256 - 256%len(letters) // bytes from here on would favour some letters
	out := make([]byte, 0, n)
	var b [1]byte
	for len(out) < n {
		_, _ = rand.Read(b[:]) // never fails
		if int(b[0]) < fair {
			out = append(out, letters[int(b[0])%len(letters)])
		}
	}
	return string(out)
}
