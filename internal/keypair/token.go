package keypair

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"

	"vigil/internal/guard"
	"vigil/internal/wire"
)

// The types of keys whose private half is in a security key (OpenSSH's PROTOCOL.u2f).
const (
	TokenEd25519 = "sk-ssh-ed25519@openssh.com"
	TokenECDSA   = "sk-ecdsa-sha2-nistp256@openssh.com"

	// tokenCurve is the only curve of TokenECDSA.
	tokenCurve = "nistp256"
	// maxHandle bounds a handle, with the reserved field, in bytes: FIDO allows 1,023.
	maxHandle = 8 << 10
	// maxApplication bounds an application in bytes. OpenSSH's are "ssh:" and what a
	// person adds.
	maxApplication = 1 << 10
)

// IsToken reports whether keys of a type are in security keys.
func IsToken(typ string) bool { return typ == TokenEd25519 || typ == TokenECDSA }

// TokenNumbers are the fields of a key in a security key.
type TokenNumbers struct {
	Type        string
	Public      []byte // Ed25519 key or uncompressed point
	Application []byte // what it was made for: "ssh:" and more
	Flags       byte   // what the device asks for: sk-api.h
	// Handle is how the device knows the key. It is of no use without the device.
	Handle, Reserved []byte
}

// ReadToken reads the fields of a key of type typ in SSH_AGENTC_ADD_IDENTITY's encoding,
// which OpenSSH's files have too, from behind the type's name. They alias r. The error is
// ErrMalformed.
func ReadToken(r *wire.Reader, typ string) (n TokenNumbers, err error) {
	n.Type = typ
	if typ == TokenECDSA && string(r.String()) != tokenCurve {
		return n, ErrMalformed
	}
	n.Public = r.String()
	n.ReadPrivate(r)
	if r.Err() != nil {
		return n, ErrMalformed
	}
	return n, nil
}

// ReadPrivate reads the fields from Application on. The caller looks at r's error.
func (n *TokenNumbers) ReadPrivate(r *wire.Reader) {
	n.Application, n.Flags, n.Handle, n.Reserved = r.String(), r.Byte(), r.String(), r.String()
}

// Token is a key in a security key.
type Token struct {
	Type        string
	Public      []byte // Ed25519 key or uncompressed point
	Application []byte
	Flags       byte
	Blob        []byte        // public key blob
	Encoding    *guard.Buffer // of the key, in SSH_AGENTC_ADD_IDENTITY's encoding
}

// NewToken checks the fields and copies the handle into slab. Whether the device has the
// key, a signature shows. The error is ErrMalformed, or the slab's.
func NewToken(slab *guard.Slab, n TokenNumbers) (*Token, error) {
	if len(n.Handle) == 0 || len(n.Handle)+len(n.Reserved) > maxHandle || len(n.Application) == 0 ||
		len(n.Application) > maxApplication || bytes.IndexByte(n.Application, 0) >= 0 {
		return nil, ErrMalformed
	}
	blob := wire.AppendString(nil, n.Type)
	switch n.Type {
	case TokenEd25519:
		if len(n.Public) != ed25519.PublicKeySize {
			return nil, ErrMalformed
		}
	case TokenECDSA:
		if _, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), n.Public); err != nil {
			return nil, ErrMalformed
		}
		blob = wire.AppendString(blob, tokenCurve)
	default:
		return nil, ErrUnsupported
	}
	blob = wire.AppendString(wire.AppendString(blob, n.Public), n.Application)
	t := &Token{Type: n.Type, Public: bytes.Clone(n.Public), Application: bytes.Clone(n.Application), Flags: n.Flags, Blob: blob}
	var err error
	if t.Encoding, err = slab.Alloc(len(blob) + n.privateSize()); err != nil {
		return nil, err
	}
	// The room is exactly enough: nothing is copied to the heap.
	n.AppendPrivate(append(t.Encoding.Bytes()[:0], blob...))
	return t, nil
}

// privateSize is the length in bytes of what AppendPrivate appends.
func (n *TokenNumbers) privateSize() int { return 1 + 4 + len(n.Handle) + 4 + len(n.Reserved) }

// AppendPrivate appends the fields that follow the public key blob.
func (n *TokenNumbers) AppendPrivate(b []byte) []byte {
	return wire.AppendString(wire.AppendString(append(b, n.Flags), n.Handle), n.Reserved)
}

// Free wipes the handle.
func (t *Token) Free() { t.Encoding.Free() }
