// Package skhelper speaks the protocol of OpenSSH's ssh-sk-helper, which has a security
// key (a FIDO authenticator) sign (OpenSSH: ssh-sk-client.c, ssh-sk-helper.c). It does no
// I/O but on the connection that it is given, and starts nothing.
package skhelper

import (
	"errors"
	"fmt"
	"io"

	"vigil/internal/ipc"
	"vigil/internal/wire"
)

const (
	// version is that of the protocol: of every OpenSSH since 8.5.
	version = 5
	// maxReply bounds a reply in bytes. A signature has about 150.
	maxReply = 8 << 10

	typeError = 0
	typeSign  = 1
	// logQuiet has the helper log nothing but what ends it.
	logQuiet = 0
)

// Internal is the provider that is part of OpenSSH: USB tokens, through libfido2.
const Internal = "internal"

// Reasons why there is no signature.
var (
	ErrNoToken  = errors.New("no security key that is plugged in has this key, or nobody touched it in time")
	ErrPIN      = errors.New("the security key asks for its PIN")
	ErrWrongPIN = errors.New("the security key doesn't take this PIN")
	ErrNoPIN    = errors.New("the security key asks for its PIN, and none was given")
	ErrProvider = errors.New("the provider of the security key can't sign with this key")
	ErrEnded    = errors.New("ssh-sk-helper ended without an answer: it is another version's, or the wait was cancelled")
	ErrVersion  = fmt.Errorf("ssh-sk-helper speaks another version of its protocol than %d", version)
	ErrReply    = errors.New("ssh-sk-helper's answer can't be read")
)

// reasons are the errors of OpenSSH (ssherr.h) that a person can do something about.
var reasons = map[uint32]error{43: ErrPIN, 59: ErrProvider, 60: ErrNoToken}

// Sign has the helper at the other end of rw sign data with key, and returns the signature
// blob unverified: string algorithm, string signature, byte flags, uint32 counter. key is
// in SSH_AGENTC_ADD_IDENTITY's encoding; pin is the device's PIN, or empty. Both are
// written, not copied. Sign waits for the touch; the end of the connection ends the wait.
// The error is ErrPIN if the device asks for a PIN, and none was given here.
func Sign(rw io.ReadWriter, key []byte, provider string, data, pin []byte) ([]byte, error) {
	head := append([]byte{version}, wire.AppendUint32(nil, typeSign)...)
	head = append(head, 0) // log to syslog, not to standard error
	head = wire.AppendUint32(head, logQuiet)
	head = wire.AppendUint32(head, uint32(len(key)))
	tail := wire.AppendString(nil, provider)
	tail = wire.AppendString(tail, data)
	tail = wire.AppendString(tail, "") // algorithm: the key's
	tail = wire.AppendUint32(tail, 0)  // bugs of the peer to take into account
	tail = wire.AppendUint32(tail, uint32(len(pin)))
	if err := ipc.Write(rw, len(head)+len(key)+len(tail)+len(pin), head, key, tail, pin); err != nil {
		return nil, ErrEnded
	}
	reply, err := ipc.Read(rw, maxReply)
	switch {
	case errors.Is(err, ipc.ErrTooLong):
		return nil, ErrReply
	case err != nil:
		return nil, ErrEnded
	}
	sig, err := readReply(reply)
	if errors.Is(err, ErrPIN) && len(pin) > 0 {
		err = ErrWrongPIN
	}
	return sig, err
}

func readReply(reply []byte) ([]byte, error) {
	r := wire.NewReader(reply)
	if r.Byte() != version && r.Err() == nil {
		return nil, ErrVersion
	}
	switch kind := r.Uint32(); {
	case r.Err() != nil:
		return nil, ErrReply
	case kind == typeError:
		code := r.Uint32()
		if r.Err() != nil {
			return nil, ErrReply
		}
		if reason := reasons[code]; reason != nil {
			return nil, reason
		}
		return nil, fmt.Errorf("%w: OpenSSH's error %d", ErrProvider, code)
	case kind != typeSign:
		return nil, ErrReply
	}
	sig := r.String()
	if r.End() != nil || len(sig) == 0 {
		return nil, ErrReply
	}
	return sig, nil
}
