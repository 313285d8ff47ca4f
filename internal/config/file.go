package config

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"vigil/internal/durable"
)

// MaxFile is the largest configuration file, in bytes.
const MaxFile = 1 << 20

// file is a configuration file that was read and possibly decoded.
type file struct {
	name string
	text string
	meta toml.MetaData
}

// read reads the file called name. A missing file is empty.
func read(name string) (*file, error) {
	text, err := durable.ReadFile(name, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &file{name: name}, nil
	}
	if err != nil {
		return nil, &Error{File: name, Err: cause(err)}
	}
	return &file{name: name, text: string(text)}, nil
}

// cause returns err without the file's name, which Error already has.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// decode fills into, a pointer to a struct, and keeps what only and line need.
func (f *file) decode(into any) error {
	meta, err := toml.Decode(f.text, into)
	if err != nil {
		return f.wrap(err)
	}
	f.meta = meta
	return nil
}

// only refuses the first key for which known returns false. The TOML library
// ignores case, and of keys that differ in case decodes the last.
func (f *file) only(known func(key toml.Key) bool) error {
	for _, key := range f.meta.Keys() {
		if !known(key) {
			return f.at(fmt.Errorf("unknown key %.80q", key.String()), key...)
		}
	}
	return nil
}

// at returns an Error at the line where key is set.
func (f *file) at(err error, key ...string) error {
	return &Error{File: f.name, Line: f.line(key...), Err: err}
}

// wrap returns an Error for an error of the TOML library, which begins with
// "toml: line 3 (last key "a.b"): ".
func (f *file) wrap(err error) error {
	text := strings.TrimPrefix(err.Error(), "toml: ")
	rest, ok := strings.CutPrefix(text, "line ")
	if !ok {
		return &Error{File: f.name, Err: errors.New(text)}
	}
	n := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if n < 1 {
		return &Error{File: f.name, Err: errors.New(text)}
	}
	line, _ := strconv.Atoi(rest[:n])
	return &Error{File: f.name, Line: line, Err: errors.New(strings.TrimLeft(rest[n:], ": "))}
}

// line returns the line where key is set, from 1, or 0 if it isn't found. The TOML
// library doesn't keep the place of a valid key, so line decodes the text line by
// line until the key appears; files are small, and this happens only on errors. A
// value of several lines begins after the last text that can be decoded.
func (f *file) line(key ...string) int {
	if len(key) == 0 {
		return 0
	}
	good, n := 0, 0
	for end := range lineEnds(f.text) {
		n++
		var all map[string]any
		meta, err := toml.Decode(f.text[:end], &all)
		if err != nil {
			continue
		}
		if meta.IsDefined(key...) {
			return good + 1
		}
		good = n
	}
	return 0
}

// lineEnds yields the offset after each line of text.
func lineEnds(text string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for at := 0; at < len(text); {
			i := strings.IndexByte(text[at:], '\n')
			if i < 0 {
				yield(len(text))
				return
			}
			at += i + 1
			if !yield(at) {
				return
			}
		}
	}
}

// vaultKey is one key of VaultConfig as WriteVault writes it.
type vaultKey struct {
	name   string
	always bool                        // written even if it has the default value
	get    func(v *VaultConfig) string // its value in TOML
}

// vaultKeys are VaultConfig's keys in their order there.
var vaultKeys = func() []vaultKey {
	t := reflect.TypeFor[VaultConfig]()
	var keys []vaultKey
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("toml"), ",")
		keys = append(keys, vaultKey{
			name:   name,
			always: name == "path" || name == "master" || name == "backend",
			get: func(v *VaultConfig) string {
				value := reflect.ValueOf(v).Elem().Field(i).Interface()
				if on, ok := value.(bool); ok {
					return strconv.FormatBool(on)
				}
				return quote(fmt.Sprint(value))
			},
		})
	}
	return keys
}()

// isVaultKey reports whether name is a key of VaultConfig, in its exact spelling.
func isVaultKey(name string) bool {
	return slices.ContainsFunc(vaultKeys, func(k vaultKey) bool { return k.name == name })
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
