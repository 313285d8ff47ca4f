// Package handover is what an opener says to a keeper on the private socketpair
// between them: an identity's private halves after an unlock, or private keys
// after an import. The front makes the pair, passes on both ends and keeps none.
//
// Messages and hellos are those of package ipc. Secrets are written from the opener's
// guarded memory and read straight into the keeper's; neither side copies them to
// its heap.
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
	// HalvesLen is the length in bytes of an identity's private halves
	// (envelope.HalvesSize): the seeds of its HPKE and of its Ed25519 key.
	HalvesLen = 64
	// MaxKey is the size in bytes of the largest private key that is handed
	// over, in SSH_AGENTC_ADD_IDENTITY's encoding. RSA-8192 has 4.7 KiB.
	MaxKey = 64 << 10
	// maxText bounds a verdict in bytes.
	maxText = 1 << 10
)

// errSize reports a secret of another size than it has.
var errSize = errors.New("secret has the wrong size")

// Identity hands over the private halves of an identity and returns once the
// keeper has them. The caller wipes halves, HalvesLen bytes.
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

// Key hands over one private key in SSH_AGENTC_ADD_IDENTITY's encoding, and
// returns once the keeper has checked it. The caller wipes it.
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

// Alloc gives n bytes of guarded memory.
type Alloc func(n int) (*guard.Buffer, error)

// ReceiveIdentity is the keeper's side of Identity. The receiver frees the
// halves, and says with Verdict what it makes of them.
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

// ReceiveKey is the keeper's side of Key: an encoded private key in guarded
// memory, which the receiver frees.
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

// Verdict tells the opener what the keeper made of what it got; nil is good.
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
