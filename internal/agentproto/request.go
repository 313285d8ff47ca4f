package agentproto

import (
	"bytes"
	"errors"
	"fmt"

	"vigil/internal/wire"
)

// ErrUnsupported reports a constraint or extension that is not supported. A
// request with one is refused as a whole (RFC 9987 sections 6.2 and 6.8).
var ErrUnsupported = errors.New("not supported")

// ErrInvalid reports a message that can be decoded, but whose fields contradict
// each other or exceed a limit.
var ErrInvalid = errors.New("invalid")

// SignRequest asks for a signature (RFC 9987 section 6.3).
type SignRequest struct {
	Key   []byte // public key blob
	Data  []byte // what to sign
	Flags uint32 // FlagRSASHA256, FlagRSASHA512; the caller refuses others
}

// ParseSign decodes the body (what follows the type byte) of a MsgSignRequest.
func ParseSign(body []byte) (SignRequest, error) {
	r := wire.NewReader(body)
	q := SignRequest{Key: r.String(), Data: r.String(), Flags: r.Uint32()}
	if err := r.End(); err != nil {
		return SignRequest{}, fmt.Errorf("sign request: %w", err)
	}
	return q, nil
}

// ParseRemove decodes the body of a MsgRemoveIdentity and returns the public key blob.
func ParseRemove(body []byte) (key []byte, err error) {
	r := wire.NewReader(body)
	key = r.String()
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("remove request: %w", err)
	}
	return key, nil
}

// ParseEmpty checks that the body of a MsgRequestIdentities,
// MsgRemoveAllIdentities or MsgRemoveAllRSA is empty.
func ParseEmpty(body []byte) error {
	if len(body) != 0 {
		return wire.ErrTrailing
	}
	return nil
}

// ParsePassphrase decodes the body of a MsgLock or MsgUnlock. The passphrase aliases
// body, which its owner wipes.
func ParsePassphrase(body []byte) ([]byte, error) {
	r := wire.NewReader(body)
	p := r.String()
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("lock request: %w", err)
	}
	return p, nil
}

// KeyTail is what follows the private key in an MsgAddIdentity or MsgAddIDConstrained.
type KeyTail struct {
	Comment     []byte
	Constraints Constraints
}

// ParseKeyTail decodes what follows the private key in the body of an
// MsgAddIdentity or, with constrained, an MsgAddIDConstrained. Its slices alias rest,
// and none of them is secret.
//
// OpenSSH reads constraints after an MsgAddIdentity as well; here they are
// trailing bytes, and refused.
func ParseKeyTail(rest []byte, constrained bool) (KeyTail, error) {
	r := wire.NewReader(rest)
	t := KeyTail{Comment: r.String()}
	if err := r.Err(); err != nil {
		return KeyTail{}, fmt.Errorf("comment of a key: %w", err)
	}
	if bytes.IndexByte(t.Comment, 0) >= 0 { // as OpenSSH's sshbuf_get_cstring
		return KeyTail{}, fmt.Errorf("comment of a key has a zero byte: %w", ErrInvalid)
	}
	if !constrained {
		if err := r.End(); err != nil {
			return KeyTail{}, fmt.Errorf("key without constraints: %w", err)
		}
		return t, nil
	}
	var err error
	t.Constraints, err = ParseConstraints(r.Rest())
	if err != nil {
		return KeyTail{}, err
	}
	return t, nil
}
