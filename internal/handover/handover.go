// Package handover is the protocol between an opener and a keeper on their private
// socketpair: it carries an identity's private keys after an unlock, or private keys
// after an import. The front makes the pair, passes both ends on and keeps neither.
//
// Messages and hellos are those of package ipc. Secrets are written from the opener's
// guarded memory and read into the keeper's, and never copied to a heap.
package handover

import (
	"errors"
	"fmt"
	"io"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/ipc"
)

const (
	// HalvesLen is the size of an identity's private keys in bytes
	// (envelope.HalvesSize): the seeds of its HPKE key and of its Ed25519 key.
	HalvesLen = 64
	// MaxKey is the size of the largest private key in bytes, in
	// SSH_AGENTC_ADD_IDENTITY's encoding. RSA-8192 has 4.7 KiB.
	MaxKey = 64 << 10
	// maxText bounds a verdict in bytes.
	maxText = 1 << 10
)

// errSize reports a secret whose size is wrong.
var errSize = errors.New("secret has the wrong size")

// Identity hands over an identity's private keys and returns once the keeper has
// accepted them. The caller wipes halves, which has HalvesLen bytes.
func Identity(rw io.ReadWriter, vault id.Vault, identity id.Identity, halves []byte) error {
	if len(halves) != HalvesLen {
		return fmt.Errorf("hand over identity: %w", errSize)
	}
	if err := ipc.Greet(rw, ipc.Opener, ipc.Keeper, vault); err != nil {
		return fmt.Errorf("hand over identity: %w", err)
	}
	if err := ipc.Write(rw, len(identity)+HalvesLen, identity[:], halves); err != nil {
		return fmt.Errorf("hand over identity: %w", err)
	}
	return readVerdict(rw)
}

// Key hands over one private key in SSH_AGENTC_ADD_IDENTITY's encoding, and returns
// once the keeper has checked it. The caller wipes encoding.
func Key(rw io.ReadWriter, vault id.Vault, encoding []byte) error {
	if len(encoding) > MaxKey { // before the keeper waits for it
		return fmt.Errorf("hand over key: %w", errSize)
	}
	if err := ipc.Greet(rw, ipc.Opener, ipc.Keeper, vault); err != nil {
		return fmt.Errorf("hand over key: %w", err)
	}
	if err := ipc.Write(rw, MaxKey, encoding); err != nil {
		return fmt.Errorf("hand over key: %w", err)
	}
	return readVerdict(rw)
}

// Alloc allocates n bytes of guarded memory.
type Alloc func(n int) (*guard.Buffer, error)

// ReceiveIdentity is the keeper's side of Identity. The caller frees halves, and
// reports with Verdict whether it accepts them.
func ReceiveIdentity(rw io.ReadWriter, vault id.Vault, alloc Alloc) (identity id.Identity, halves *guard.Buffer, err error) {
	if err := ipc.Greet(rw, ipc.Keeper, ipc.Opener, vault); err != nil {
		return identity, nil, fmt.Errorf("receive identity: %w", err)
	}
	size := len(identity) + HalvesLen
	n, err := ipc.ReadLength(rw, size)
	if err == nil && n != size {
		err = errSize
	}
	if err != nil {
		return identity, nil, fmt.Errorf("receive identity: %w", err)
	}
	if _, err := io.ReadFull(rw, identity[:]); err != nil {
		return identity, nil, fmt.Errorf("receive identity: %w", err)
	}
	if halves, err = alloc(HalvesLen); err != nil {
		return identity, nil, err
	}
	if _, err := io.ReadFull(rw, halves.Bytes()); err != nil {
		halves.Free()
		return identity, nil, fmt.Errorf("receive identity: %w", err)
	}
	return identity, halves, nil
}

// ReceiveKey is the keeper's side of Key. It returns an encoded private key in
// guarded memory, which the caller frees.
func ReceiveKey(rw io.ReadWriter, vault id.Vault, alloc Alloc) (*guard.Buffer, error) {
	if err := ipc.Greet(rw, ipc.Keeper, ipc.Opener, vault); err != nil {
		return nil, fmt.Errorf("receive key: %w", err)
	}
	n, err := ipc.ReadLength(rw, MaxKey)
	if err != nil {
		return nil, fmt.Errorf("receive key: %w", err)
	}
	b, err := alloc(max(n, 1))
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(rw, b.Bytes()[:n]); err != nil {
		b.Free()
		return nil, fmt.Errorf("receive key: %w", err)
	}
	return b, nil
}

// Verdict tells the opener whether the keeper accepts what it received; nil: it does.
func Verdict(rw io.ReadWriter, verdict error) error {
	text := ""
	if verdict != nil {
		text = verdict.Error()
	}
	return ipc.Write(rw, maxText, []byte(text[:min(len(text), maxText)]))
}

func readVerdict(r io.Reader) error {
	text, err := ipc.Read(r, maxText)
	if err != nil {
		return fmt.Errorf("read keeper's answer: %w", err)
	}
	if len(text) > 0 {
		return errors.New(string(text))
	}
	return nil
}
