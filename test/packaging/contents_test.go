package packaging

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openers print what a package installs as a tar archive: dpkg's own, what rpm has installed
// and verified, that of an apk, and what pacman's library reads.
var openers = map[string]string{
	"deb": `dpkg-deb --fsys-tarfile "$1"`,
	"rpm": `root=$(mktemp -d); trap 'rm -rf "$root"' EXIT; rpm="rpm --root $root --force-debian"
		$rpm --nodeps -i "$1" && $rpm -V --nodeps vigil && tar -C "$root" -cf - usr`,
	"apk":  `gzip -dc "$1"`,
	"arch": `bsdtar -cf - --format=pax "@$1"`,
}

// entry is a file or a link, as far as packages agree on them.
type entry struct {
	mode   int64
	owner  int
	linkTo string
	sum    [sha256.Size]byte
}

func (e entry) String() string {
	return fmt.Sprintf("mode %o, owner %d, link to %q, hash %x", e.mode, e.owner, e.linkTo, e.sum[:4])
}

// entries returns what a package installs, without folders, by path.
func entries(t *testing.T, kind string) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for r := tar.NewReader(bytes.NewReader(output(t, openers[kind], built[kind]))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Join("/", h.Name)
		if strings.HasPrefix(name, "/.") { // the package's own
			continue
		}
		e := entry{mode: h.Mode & 0o7777, owner: h.Uid + h.Gid, linkTo: h.Linkname}
		switch h.Typeflag {
		case tar.TypeDir:
			if e.mode != 0o755 || e.owner != 0 {
				t.Errorf("%s: the folder %s has %v", kind, name, e)
			}
			continue
		case tar.TypeSymlink:
			e.mode = 0o777 // means nothing, and differs
		default:
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			e.sum = sha256.Sum256(text)
		}
		all[name] = e
	}
}

// TestContents: the four packages install the same files, which belong to root and have the
// modes that they need.
func TestContents(t *testing.T) {
	deb := entries(t, "deb")
	for name, mode := range map[string]int64{
		"/usr/libexec/vigil/vigild": 0o111, "/usr/libexec/vigil/vigil-opener": 0o111,
		"/usr/libexec/vigil/vigilctl": 0o111, "/usr/libexec/vigil/vigil-meter": 0o111,
		"/usr/bin/vigild": 0o777, "/usr/bin/vigilctl": 0o777,
		"/usr/lib/systemd/user/vigild.service": 0o644, "/usr/lib/systemd/user/vigild.socket": 0o644,
		"/usr/lib/systemd/user/vigild-control.socket": 0o644, "/usr/lib/systemd/user-preset/90-vigil.preset": 0o644,
		"/usr/share/bash-completion/completions/vigilctl": 0o644, "/usr/share/zsh/site-functions/_vigilctl": 0o644,
		"/usr/share/fish/vendor_completions.d/vigilctl.fish": 0o644,
		"/usr/share/man/man1/vigilctl.1":                     0o644, "/usr/share/man/man5/vigil-config.5": 0o644,
		"/usr/share/man/man7/vigil.7": 0o644, "/usr/share/man/man8/vigild.8": 0o644,
		"/usr/share/doc/vigil/copyright": 0o644, "/usr/share/doc/vigil/licenses/go/LICENSE": 0o644,
	} {
		if e, ok := deb[name]; !ok || e.mode != mode {
			t.Errorf("deb: %s: %v, want mode %o", name, e, mode)
		}
	}
	for name, e := range deb {
		if e.owner != 0 {
			t.Errorf("deb: %s doesn't belong to root: %v", name, e)
		}
		if strings.HasPrefix(name, "/etc/") || strings.HasPrefix(name, "/usr/lib/sysusers.d") || strings.HasPrefix(name, "/usr/lib/systemd/system/") {
			t.Errorf("deb: %s changes the system, not what its users can choose", name)
		}
		if want := "../libexec/vigil/" + path.Base(name); strings.HasPrefix(name, "/usr/bin/") && e.linkTo != want {
			t.Errorf("deb: %s is a link to %q, want %q", name, e.linkTo, want)
		}
	}
	for kind := range openers {
		t.Run(kind, func(t *testing.T) {
			if kind == "rpm" && os.Getuid() != 0 {
				t.Skip("only root can install with rpm")
			}
			got := entries(t, kind)
			for _, name := range slices.Sorted(maps.Keys(got)) {
				if _, ok := deb[name]; !ok {
					t.Errorf("it has %s, which the deb lacks", name)
				}
			}
			for _, name := range slices.Sorted(maps.Keys(deb)) {
				if got[name] != deb[name] {
					t.Errorf("%s: %v, in the deb: %v", name, got[name], deb[name])
				}
			}
		})
	}
}

// TestOwnersInTheRPM: an rpm names owners in its header only.
func TestOwnersInTheRPM(t *testing.T) {
	for line := range strings.Lines(string(output(t, `rpm -qp --qf '[%{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]' "$1"`, built["rpm"]))) {
		if !strings.HasPrefix(line, "root root /usr/") {
			t.Error(line)
		}
	}
	output(t, `rpm -K --nosignature "$1"`, built["rpm"]) // its digests
}

// TestNoScripts: a package starts, enables, restarts and kills nothing.
func TestNoScripts(t *testing.T) {
	for kind, list := range map[string]struct{ script, want string }{
		"deb":  {`dpkg-deb --ctrl-tarfile "$1" | tar -t | sort`, "./control\n./md5sums\n"},
		"rpm":  {`rpm -qp --scripts --triggers --filetriggers "$1"`, ""},
		"apk":  {`gzip -dc "$1" | tar -t 2>/dev/null | grep '^\.'`, ".PKGINFO\n"},
		"arch": {`bsdtar -tf "$1" | grep '^\.' | sort`, ".MTREE\n.PKGINFO\n"},
	} {
		if got := string(output(t, list.script, built[kind])); got != list.want {
			t.Errorf("%s has\n%s\nwant\n%s", kind, got, list.want)
		}
	}
}

// TestLicences: there is a licence of each module that a program was linked with.
func TestLicences(t *testing.T) {
	dir := t.TempDir()
	output(t, `dpkg-deb -x "$1" "$2"`, built["deb"], dir)
	programs, err := filepath.Glob(filepath.Join(dir, "usr/libexec/vigil/*"))
	if err != nil || len(programs) != 4 {
		t.Fatalf("programs: %v, %v", programs, err)
	}
	for _, program := range programs {
		// It may belong to who runs this, who then can't read it.
		if err := os.Chmod(program, 0o700); err != nil {
			t.Fatal(err)
		}
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range info.Deps {
			files, err := os.ReadDir(filepath.Join(dir, "usr/share/doc/vigil/licenses", m.Path))
			if err != nil || len(files) == 0 {
				t.Errorf("%s links %s, of which there is no licence: %v", path.Base(program), m.Path, err)
			}
		}
	}
}
