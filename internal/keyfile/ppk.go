package keyfile

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"vigil/internal/guard"
	"vigil/internal/keypair"
	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

// ppkMagic starts every .ppk; the version follows.
const ppkMagic = "PuTTY-User-Key-File-"

// A ppkFile is a PuTTY private key file of version 2 or 3 (PuTTY's manual,
// appendix C, "PPK file format").
type ppkFile struct {
	version    int
	keyType    []byte
	encryption []byte // "none" or "aes256-cbc"
	comment    []byte
	public     []byte
	argon2     ppkArgon2 // version 3, encrypted
	private    []byte    // encrypted or not, padded to a cipher block
	mac        []byte
}

type ppkArgon2 struct {
	flavour                     []byte
	memory, passes, parallelism uint64 // KiB, count, lanes
	salt                        []byte
}

// parsePPK reads a .ppk. Its MAC covers everything but the version and Argon2's
// parameters, and is verified before the private key is parsed.
func parsePPK(data []byte, ask func() ([]byte, error)) (*Key, error) {
	f, err := readPPKFile(data)
	if err != nil {
		return nil, err
	}
	defer guard.Wipe(f.private)
	var passphrase []byte
	if f.encrypted() {
		if passphrase, err = readPassphrase(ask); err != nil {
			return nil, err
		}
	}
	keys := f.deriveKeys(passphrase)
	wrong := wrongPPKPassphrase(passphrase)
	guard.Wipe(passphrase)
	defer keys.wipe()
	if f.encrypted() {
		if _, err := openAESCBC(keys.cipher, keys.iv, f.private, nil); err != nil {
			return nil, fmt.Errorf("decrypt .ppk: %w", err)
		}
	}
	if !f.verify(keys.mac) {
		if f.encrypted() {
			return nil, wrong
		}
		return nil, damaged("the .ppk's MAC is wrong")
	}
	k, err := f.readKey()
	if err != nil {
		return nil, err
	}
	if !samePublic(k.public, f.public) {
		_ = k.Close() // the error that matters is ErrMismatch
		return nil, fmt.Errorf("compare with the file's public key: %w", ErrMismatch)
	}
	k.setComment(f.comment)
	return k, nil
}

// wrongPPKPassphrase returns the error for a wrong passphrase. PuTTYgen and Pageant for
// Windows, at least up to 0.84, take what is typed in Windows' code page
// (GetDlgItemText_alloc).
func wrongPPKPassphrase(passphrase []byte) error {
	ascii := !bytes.ContainsFunc(passphrase, func(r rune) bool { return r >= utf8.RuneSelf })
	if ascii || !utf8.Valid(passphrase) {
		return ErrWrongPassphrase
	}
	return fmt.Errorf("%w; it has letters beyond ASCII: if PuTTYgen for Windows set it, give it in Windows' code page, "+
		"such as from iconv -f UTF-8 -t CP1252", ErrWrongPassphrase)
}

func (f *ppkFile) encrypted() bool { return string(f.encryption) != "none" }

// ppkKeys are derived from a passphrase. Without encryption, cipher and iv are nil.
type ppkKeys struct{ cipher, iv, mac []byte }

func (k *ppkKeys) wipe() {
	guard.Wipe(k.cipher)
	guard.Wipe(k.iv)
	guard.Wipe(k.mac)
}

func (f *ppkFile) deriveKeys(passphrase []byte) *ppkKeys {
	const cipherKey, iv, mac = 32, 16, 32
	switch {
	case f.version == 3 && !f.encrypted():
		return &ppkKeys{}
	case f.version == 3:
		derive := argon2.IDKey
		if string(f.argon2.flavour) == "Argon2i" {
			derive = argon2.Key
		}
		a := f.argon2
		all := derive(passphrase, a.salt, uint32(a.passes), uint32(a.memory), uint8(a.parallelism), cipherKey+iv+mac)
		return &ppkKeys{cipher: all[:cipherKey], iv: all[cipherKey:][:iv], mac: all[cipherKey+iv:]}
	}
	k := &ppkKeys{iv: make([]byte, iv)}
	k.mac = sumSHA1([]byte("putty-private-key-file-mac-key"), passphrase)
	if f.encrypted() {
		first, second := sumSHA1([]byte{0, 0, 0, 0}, passphrase), sumSHA1([]byte{0, 0, 0, 1}, passphrase)
		k.cipher = append(append(make([]byte, 0, 2*sha1.Size), first...), second...)[:cipherKey]
		guard.Wipe(first)
		guard.Wipe(second)
	}
	return k
}

func sumSHA1(parts ...[]byte) []byte {
	h := sha1.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func (f *ppkFile) newHash() func() hash.Hash {
	if f.version == 2 {
		return sha1.New
	}
	return sha256.New
}

func (f *ppkFile) computeMAC(key []byte) []byte {
	h := hmac.New(f.newHash(), key)
	for _, field := range [][]byte{f.keyType, f.encryption, f.comment, f.public, f.private} {
		h.Write(wire.AppendUint32(nil, uint32(len(field))))
		h.Write(field)
	}
	return h.Sum(nil)
}

// verify reports whether the MAC is right, for the comment as it is or without the
// blanks at its end, with which terminals fill the lines that are copied from them.
func (f *ppkFile) verify(key []byte) bool {
	if hmac.Equal(f.computeMAC(key), f.mac) {
		return true
	}
	f.comment = bytes.TrimRight(f.comment, " \t\u00a0")
	return hmac.Equal(f.computeMAC(key), f.mac)
}

// readKey reads the decrypted private fields, which PuTTY writes without the
// public ones, and ignores the random padding after them.
func (f *ppkFile) readKey() (*Key, error) {
	public, private := wire.NewReader(f.public), wire.NewReader(f.private)
	public.String() // the type, which is keyType's
	var k *Key
	var err error
	switch t := string(f.keyType); t {
	case typeEd25519:
		point, little := public.String(), private.String()
		if len(little) > 32 {
			return nil, damaged("Ed25519 key in .ppk")
		}
		seed := make([]byte, 32) // old versions write it as a number, without its leading zeros
		defer guard.Wipe(seed)
		copy(seed, little)
		if public.End() == nil && private.Err() == nil {
			k, err = newEd25519(seed, point)
		}
	case typeRSA:
		var n keypair.RSANumbers
		n.E, n.N = public.Mpint(), public.Mpint()
		n.D, n.P, n.Q, n.QInv = private.Mpint(), private.Mpint(), private.Mpint(), private.Mpint()
		if public.End() == nil && private.Err() == nil {
			k, err = newRSA(n)
		}
	default:
		public.String() // the curve's name
		point, scalar := public.String(), private.Mpint()
		if public.End() == nil && private.Err() == nil && len(point) > 0 {
			k, err = newECDSA(keypair.CurveOf(t), scalar, point)
		}
	}
	if k == nil && err == nil {
		err = damagedNumber("key in .ppk", errors.Join(public.Err(), private.Err()))
	}
	return k, err
}

// readPPKFile reads the lines of a .ppk and checks everything that isn't encrypted.
func readPPKFile(data []byte) (f *ppkFile, err error) {
	f = &ppkFile{}
	defer func() {
		if err != nil {
			guard.Wipe(f.private)
			f = nil
		}
	}()
	lines := ppkLines{rest: data[len(ppkMagic):]}
	version, keyType, ok := bytes.Cut(lines.next(), []byte(": "))
	if !ok {
		return f, damaged(".ppk: first line")
	}
	switch string(version) {
	case "2", "3":
		f.version = int(version[0] - '0')
	case "1":
		return f, &UnsupportedError{Type: ".ppk version 1", Advice: "rewrite a copy with " + puttyRewrite}
	default:
		return f, &UnsupportedError{Type: "this version of .ppk", Advice: "save a copy as version 2 or 3 with PuTTYgen"}
	}
	f.keyType = keyType
	f.encryption = lines.field("Encryption")
	f.comment = lines.field("Comment")
	f.public = lines.blob("Public-Lines")
	if lines.err != nil {
		return f, lines.err
	}
	if err := f.checkPublic(); err != nil {
		return f, err
	}
	if f.version == 3 && f.encrypted() {
		if f.argon2, err = lines.argon2(); err != nil {
			return f, err
		}
	}
	f.private = lines.blob("Private-Lines")
	f.mac = lines.hex("Private-MAC")
	if lines.err == nil && len(f.mac) != f.newHash()().Size() {
		lines.fail("Private-MAC")
	}
	// As PuTTY does, ignore text after the MAC. But a key there would be lost.
	if lines.err == nil && (bytes.Contains(lines.rest, []byte(ppkMagic)) || countPrivateBegins(lines.rest) > 0) {
		lines.err = ErrMultipleKeys
	}
	if lines.err == nil && f.encrypted() && (len(f.private) == 0 || len(f.private)%16 != 0) {
		lines.err = damaged(".ppk: private key is not a whole number of blocks")
	}
	return f, lines.err
}

func (f *ppkFile) checkPublic() error {
	switch {
	case string(f.encryption) != "none" && string(f.encryption) != "aes256-cbc":
		return &UnsupportedError{Type: "the cipher " + shown(f.encryption), Advice: "save a copy with PuTTYgen"}
	case isComposite(string(f.keyType)):
		return &UnsupportedError{Type: "the key type " + shown(f.keyType) + " in .ppk"}
	case string(f.keyType) == "ssh-ed448":
		return &UnsupportedError{Type: "Ed448", Advice: "OpenSSH has never had it"}
	}
	if err := unsupportedType(f.keyType); err != nil {
		return err
	}
	if pubkey.Type(f.public) != string(f.keyType) {
		return damaged(".ppk: two key types")
	}
	return checkPublic(f.public)
}

// ppkLines reads "Name: value" lines that end in LF, CR LF or CR, in their fixed order.
type ppkLines struct {
	rest []byte
	err  error
}

func (l *ppkLines) next() []byte {
	line := l.rest
	if i := bytes.IndexAny(line, "\r\n"); i >= 0 {
		line = line[:i]
	}
	l.rest = l.rest[len(line):]
	for _, end := range []string{"\r\n", "\n", "\r"} {
		if rest, ok := bytes.CutPrefix(l.rest, []byte(end)); ok {
			l.rest = rest
			break
		}
	}
	return line
}

func (l *ppkLines) fail(name string) {
	if l.err == nil {
		l.err = damaged(".ppk: " + name)
	}
}

// field returns the value of the next line, which must be name's.
func (l *ppkLines) field(name string) []byte {
	key, value, ok := bytes.Cut(l.next(), []byte(": "))
	if !ok || string(key) != name {
		l.fail(name)
		return nil
	}
	return value
}

// number returns the value of the next line as a number.
func (l *ppkLines) number(name string) uint64 {
	n, err := strconv.ParseUint(string(l.field(name)), 10, 32)
	if errors.Is(err, strconv.ErrRange) && l.err == nil {
		l.err = fmt.Errorf(".ppk: %s is %w", name, ErrTooLarge)
	} else if err != nil {
		l.fail(name)
	}
	return n
}

// hex returns the value of the next line, in hexadecimal.
func (l *ppkLines) hex(name string) []byte {
	b, err := hex.DecodeString(string(l.field(name)))
	if err != nil || len(b) == 0 {
		l.fail(name)
	}
	return b
}

// blob reads a line with a count, and decodes that many lines of base64.
func (l *ppkLines) blob(name string) []byte {
	count := l.number(name)
	if count > uint64(len(l.rest)) {
		l.fail(name)
	}
	if l.err != nil {
		return nil
	}
	text := make([]byte, 0, len(l.rest))
	for range count {
		text = append(text, l.next()...)
	}
	defer guard.Wipe(text)
	b, err := base64.StdEncoding.Strict().AppendDecode(make([]byte, 0, len(text)), text)
	if err != nil {
		guard.Wipe(b)
		l.fail(name)
		return nil
	}
	return b
}

// argon2 reads the key derivation's parameters, and refuses costs beyond the limits.
func (l *ppkLines) argon2() (a ppkArgon2, err error) {
	a.flavour = l.field("Key-Derivation")
	a.memory = l.number("Argon2-Memory")
	a.passes = l.number("Argon2-Passes")
	a.parallelism = l.number("Argon2-Parallelism")
	a.salt = l.hex("Argon2-Salt")
	switch {
	case l.err != nil:
		return a, l.err
	case string(a.flavour) == "Argon2d":
		return a, &UnsupportedError{Type: "Argon2d", Advice: "rewrite a copy under Argon2id with " + puttyRewrite}
	case string(a.flavour) != "Argon2id" && string(a.flavour) != "Argon2i":
		return a, &UnsupportedError{Type: "the key derivation " + shown(a.flavour), Advice: "PuTTYgen writes Argon2id"}
	case a.memory == 0 || a.passes == 0 || a.parallelism == 0:
		return a, damaged(".ppk: Argon2's parameters")
	case a.memory > MaxArgon2Memory:
		return a, tooCostly("Argon2-Memory in KiB", a.memory, MaxArgon2Memory, puttyRewrite)
	case a.passes > MaxArgon2Passes:
		return a, tooCostly("Argon2-Passes", a.passes, MaxArgon2Passes, puttyRewrite)
	case a.parallelism > MaxArgon2Parallelism:
		return a, tooCostly("Argon2-Parallelism", a.parallelism, MaxArgon2Parallelism, puttyRewrite)
	case a.memory*a.passes > MaxArgon2Work:
		return a, tooCostly("Argon2-Memory times Argon2-Passes", a.memory*a.passes, MaxArgon2Work, puttyRewrite)
	case len(a.salt) > MaxSalt:
		return a, tooCostly("length of the salt in bytes", uint64(len(a.salt)), MaxSalt, puttyRewrite)
	}
	return a, nil
}
