package residue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vigil/internal/guard"
)

// form is a secret as it may lie in memory.
type form struct {
	name  string
	bytes []byte
	// window is how many bytes in a row are found: fewer than all of it, so that a
	// part that was left is found too. 0 means defaultWindow.
	window int
}

const (
	// defaultWindow is long enough that nothing is found by chance.
	defaultWindow = 16
	// stride is the distance of the windows that are looked for: any window+stride-1
	// bytes in a row that were left are found.
	stride = 8
	// fewestValues is how many different bytes a window must have: runs of zeros
	// are no secret.
	fewestValues = 8
)

// search finds forms in memory.
type search struct {
	forms  map[string]form
	places map[uint64][]place
	// filter has a bit for each hash of a window's first 8 bytes; it fits into the
	// processor's cache, and few places in memory pass it.
	filter []uint64
}

// place is one window of a form.
type place struct {
	form   string
	at     int
	window []byte
}

const filterBits = 20

func newSearch() *search {
	return &search{forms: map[string]form{}, places: map[uint64][]place{}, filter: make([]uint64, 1<<filterBits/64)}
}

func slot(word uint64) uint64 { return word * 0x9e3779b97f4a7c15 >> (64 - filterBits) }

// known tells whether a form was added before. One of another value under a known
// name, such as a passphrase that was changed, gets a name of its own.
func (s *search) known(f *form) bool {
	name := f.name
	for n := 2; ; n++ {
		old, ok := s.forms[f.name]
		if !ok || bytes.Equal(old.bytes, f.bytes) {
			return ok
		}
		f.name = fmt.Sprintf("%s (%d)", name, n)
	}
}

// add looks for more forms from now on.
func (s *search) add(forms ...form) error {
	for _, f := range forms {
		if s.known(&f) {
			continue
		}
		if f.window == 0 {
			f.window = defaultWindow
		}
		s.forms[f.name] = f
		windows := 0
		for at := 0; at+f.window <= len(f.bytes); at += stride {
			w := f.bytes[at : at+f.window]
			if distinct(w) < fewestValues {
				continue
			}
			windows++
			word := binary.LittleEndian.Uint64(w)
			s.filter[slot(word)/64] |= 1 << (slot(word) % 64)
			s.places[word] = append(s.places[word], place{f.name, at, w})
		}
		if windows == 0 {
			return fmt.Errorf("%s can't be told from anything else: %d bytes", f.name, len(f.bytes))
		}
	}
	return nil
}

func distinct(b []byte) (n int) {
	var seen [256]bool
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

// in calls hit for every form in b.
func (s *search) in(b []byte, hit func(at int, p place)) {
	for i := 0; i+8 <= len(b); i++ {
		word := binary.LittleEndian.Uint64(b[i:])
		if word == 0 {
			continue
		}
		if h := slot(word); s.filter[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, p := range s.places[word] {
			if bytes.HasPrefix(b[i:], p.window) {
				hit(i, p)
			}
		}
	}
}

// mapping is one line of /proc/PID/maps with what could be read of it.
type mapping struct {
	from   uint64
	name   string
	perms  string
	memory []byte
}

// image is the readable memory of a process.
type image struct {
	pid      int
	mappings []mapping
	guarded  int // bytes of guarded memory, which isn't searched
}

// step is how much is read at a time, so that one page that can't be read
// hides no more than it.
const step = 1 << 20

// capture reads everything that can be read of a process, at once: searching
// takes longer. Of a process whose guarded memory is merely locked, it leaves that out.
func capture(pid int, guarded guard.Kind) (*image, error) {
	locked, err := lockedMappings(pid)
	if err != nil {
		return nil, err
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	im := &image{pid: pid}
	for line := range strings.Lines(string(maps)) {
		var to, offset, inode uint64
		var device string
		m := mapping{}
		if _, err := fmt.Sscanf(line, "%x-%x %s %x %s %d", &m.from, &to, &m.perms, &offset, &device, &inode); err != nil {
			return nil, fmt.Errorf("read maps of %d: %q: %w", pid, line, err)
		}
		if fields := strings.Fields(line); len(fields) > 5 {
			m.name = strings.Join(fields[5:], " ")
		}
		if m.perms[0] != 'r' || m.name == "[vsyscall]" || strings.HasPrefix(m.name, "[vvar") {
			continue
		}
		if guarded == guard.LockedMemory && locked[m.from] {
			im.guarded += int(to - m.from)
			continue
		}
		err := m.read(mem, to)
		if strings.Contains(m.name, "secretmem") {
			if !errors.Is(err, unix.EIO) || len(m.memory) > 0 {
				return nil, fmt.Errorf("secret memory of %d at %#x can be read", pid, m.from)
			}
			im.guarded += int(to - m.from)
			continue
		}
		if err != nil && len(m.memory) == 0 {
			return nil, fmt.Errorf("read mapping %s of %d: %w", m.name, pid, err)
		}
		im.mappings = append(im.mappings, m)
	}
	return im, nil
}

// lockedMappings says where a process has locked mappings that are left out of core files.
func lockedMappings(pid int) (map[uint64]bool, error) {
	smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	locked := make(map[uint64]bool)
	var from, at uint64
	for line := range strings.Lines(string(smaps)) {
		if _, err := fmt.Sscanf(line, "%x-", &at); err == nil {
			from = at
		} else if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			locked[from] = strings.Contains(flags, " lo ") && strings.Contains(flags, " dd ")
		}
	}
	return locked, nil
}

// read reads a mapping that ends at to, as far as it can be.
func (m *mapping) read(mem *os.File, to uint64) (err error) {
	for at := m.from; at < to; at += step {
		b := make([]byte, min(step, to-at))
		n, e := mem.ReadAt(b, int64(at))
		m.memory = append(m.memory, b[:n]...)
		if e != nil {
			return e
		}
	}
	return nil
}

func (im *image) size() (n int) {
	for i := range im.mappings {
		n += len(im.mappings[i].memory)
	}
	return n
}

// find returns the forms that are in the image, each with where it was first seen.
func (im *image) find(s *search) map[string]string {
	found := map[string]string{}
	for i := range im.mappings {
		m := &im.mappings[i]
		s.in(m.memory, func(at int, p place) {
			if _, ok := found[p.form]; !ok {
				found[p.form] = fmt.Sprintf("%s from byte %d, at %#x in %s %s", p.form, p.at, m.from+uint64(at), m.perms, m.name)
			}
		})
	}
	return found
}

// some returns a few of the places that find found, sorted.
func some(found map[string]string) string {
	const most = 20
	var lines []string
	for _, where := range found {
		lines = append(lines, where)
	}
	slices.Sort(lines)
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", len(lines)-most))
	}
	return strings.Join(lines, "\n")
}
