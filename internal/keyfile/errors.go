package keyfile

import (
	"errors"
	"fmt"
	"strings"

	"vigil/internal/keypair"
	"vigil/internal/pubkey"
	"vigil/internal/wire"
)

var (
	// ErrNotAKey reports a file that is not a private key in a known format.
	ErrNotAKey = errors.New("not a private key file")
	// ErrPublicKey reports a public key or a certificate instead of a private key.
	// It matches ErrNotAKey too.
	ErrPublicKey = fmt.Errorf("%w but the public half; the private key is usually the file of the same name without .pub", ErrNotAKey)
	// ErrMultipleKeys reports a file with more than one private key.
	ErrMultipleKeys = errors.New("file has more than one private key; split it into one file a key")
	// ErrTooLarge reports a file of more than MaxFile bytes, or a value in it
	// that exceeds its limit.
	ErrTooLarge = errors.New("beyond the limit")
	// ErrPassphraseNeeded reports an encrypted file and no way to ask for its passphrase.
	ErrPassphraseNeeded = errors.New("file is encrypted and needs its passphrase")
	// ErrWrongPassphrase reports a passphrase that doesn't open the file, or damage
	// in the encrypted part, which can't be distinguished from it.
	ErrWrongPassphrase = errors.New("wrong passphrase, or the encrypted part of the file is damaged")
	// ErrUnsupported reports a key type, size, cipher or format that is recognised but
	// not supported. Every UnsupportedError matches it.
	ErrUnsupported = keypair.ErrUnsupported
	// ErrDamaged reports a file that starts as a known format and breaks its rules.
	ErrDamaged = errors.New("private key file is damaged")
	// ErrMismatch reports a private half that doesn't belong to its public half.
	ErrMismatch = keypair.ErrMismatch
)

// An UnsupportedError names a key type, cipher or format that is recognised but
// not supported, and says why or what to do instead. It matches ErrUnsupported.
type UnsupportedError struct {
	Type   string // what is not supported: a name from this package, or one from the file if it is printable and short
	Advice string // why, or what to do; may be empty
}

func (e *UnsupportedError) Error() string {
	s := e.Type + " is not supported"
	if e.Advice != "" {
		s += ": " + e.Advice
	}
	return s
}

// Is reports whether target is ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }

// damaged returns an ErrDamaged that names the damaged part.
func damaged(part string) error { return fmt.Errorf("%w: %s", ErrDamaged, part) }

// damagedNumber returns an ErrDamaged that names the damaged part and, if err is that a
// number in it is negative, says so.
func damagedNumber(part string, err error) error {
	if errors.Is(err, wire.ErrNegative) {
		part += ": " + wire.ErrNegative.Error()
	}
	return damaged(part)
}

// tooLarge returns an ErrTooLarge with the value and its limit.
func tooLarge(what string, have, limit uint64) error {
	return fmt.Errorf("%s is %d, %w of %d", what, have, ErrTooLarge, limit)
}

// tooCostly returns an ErrTooLarge that says by which command a copy gets below the limit.
func tooCostly(what string, have, limit uint64, command string) error {
	return fmt.Errorf("%w: rewrite a copy with %s", tooLarge(what, have, limit), command)
}

// unsupportedType returns why a key of SSH type typ, a name from a file, is not
// supported, or nil.
func unsupportedType(typ []byte) error {
	switch t := string(typ); {
	case t == typeEd25519, t == typeRSA, isComposite(t), keypair.CurveOf(t) != nil, keypair.IsToken(t):
		return nil
	case t == "ssh-dss":
		return errDSA
	case strings.HasPrefix(t, "sk-"):
		return &UnsupportedError{Type: "the security key type " + shown(typ), Advice: "ed25519-sk and ecdsa-sk are"}
	case strings.Contains(t, "-cert-v0"):
		return &UnsupportedError{Type: "the certificate type " + shown(typ), Advice: "import the plain private key"}
	default:
		return &UnsupportedError{Type: "the key type " + shown(typ)}
	}
}

var errDSA = &UnsupportedError{Type: "DSA", Advice: "it is too weak, and OpenSSH dropped it in 10.0; make a new key"}

// shown returns a name from a file if it is short and printable.
func shown(name []byte) string {
	if pubkey.ValidType(name) {
		return string(name)
	}
	return "without a proper name"
}
