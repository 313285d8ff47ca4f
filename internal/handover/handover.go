// Package handover is what an opener says to a keeper on the private socketpair
// between them: an identity's private halves after an unlock, or private keys
// after an import. The front makes the pair, passes on both ends and keeps none.
//
// Every message is a 4-byte big-endian length and that many bytes. The first
// one each way is a hello. Secrets are written from the opener's guarded memory
// and read straight into the keeper's; neither side copies them to its heap.
package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"vigil/internal/buildid"
	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/wire"
)

const (
	// HalvesLen is the length in bytes of an identity's private halves
	// (envelope.HalvesSize): the seeds of its HPKE and of its Ed25519 key.
	HalvesLen = 64
	// MaxKey is the size in bytes of the largest private key that is handed
	// over, in SSH_AGENTC_ADD_IDENTITY's encoding. RSA-8192 has 4.7 KiB.
	MaxKey = 64 << 10
	// maxText bounds hellos and replies.
	maxText = 1 << 10
)

const (
	roleOpener = "opener"
	roleKeeper = "keeper"
)

// ErrMismatch reports two ends that are not of one build, role and vault.
var ErrMismatch = errors.New("opener and keeper don't belong together: restart vigild")

// Identity hands over the private halves of an identity and returns once the
// keeper has them. The caller wipes halves, HalvesLen bytes.
func Identity(rw io.ReadWriter, vault id.Vault, identity id.Identity, halves []byte) error {
	if len(halves) != HalvesLen {
		return errors.New("hand over identity: private halves of wrong length")
	}
	if err := greet(rw, roleOpener, roleKeeper, vault); err != nil {
		return fmt.Errorf("hand over identity: %w", err)
	}
	if err := write(rw, identity[:], halves); err != nil {
		return fmt.Errorf("hand over identity: %w", err)
	}
	return readVerdict(rw)
}

// Key hands over one private key in SSH_AGENTC_ADD_IDENTITY's encoding, and
// returns once the keeper has checked it. The caller wipes it.
func Key(rw io.ReadWriter, vault id.Vault, encoding []byte) error {
	if len(encoding) > MaxKey {
		return fmt.Errorf("hand over key: %d bytes, at most %d can be", len(encoding), MaxKey)
	}
	if err := greet(rw, roleOpener, roleKeeper, vault); err != nil {
		return fmt.Errorf("hand over key: %w", err)
	}
	if err := write(rw, encoding); err != nil {
		return fmt.Errorf("hand over key: %w", err)
	}
	return readVerdict(rw)
}

// Alloc gives n bytes of guarded memory.
type Alloc func(n int) (*guard.Buffer, error)

// ReceiveIdentity is the keeper's side of Identity. The receiver frees the
// halves, and says with Verdict what it makes of them.
func ReceiveIdentity(rw io.ReadWriter, vault id.Vault, alloc Alloc) (identity id.Identity, halves *guard.Buffer, err error) {
	if err := greet(rw, roleKeeper, roleOpener, vault); err != nil {
		return identity, nil, fmt.Errorf("receive identity: %w", err)
	}
	size := len(identity) + HalvesLen
	n, err := readLength(rw, size)
	if err != nil || n != size {
		return identity, nil, fmt.Errorf("receive identity: %w", errors.Join(ErrMismatch, err))
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
	if err := greet(rw, roleKeeper, roleOpener, vault); err != nil {
		return nil, fmt.Errorf("receive key: %w", err)
	}
	n, err := readLength(rw, MaxKey)
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
		text = text[:min(len(text), maxText)]
	}
	return write(rw, []byte(text))
}

func readVerdict(rw io.ReadWriter) error {
	text, err := readText(rw)
	if err != nil {
		return fmt.Errorf("read keeper's answer: %w", err)
	}
	if len(text) > 0 {
		return errors.New(string(text))
	}
	return nil
}

// greet sends this side's hello and checks the other's.
func greet(rw io.ReadWriter, ours, theirs string, vault id.Vault) error {
	hello := func(role string) []byte {
		b := wire.AppendString(nil, buildid.ID())
		b = wire.AppendString(b, role)
		return wire.AppendString(b, vault[:])
	}
	if err := write(rw, hello(ours)); err != nil {
		return err
	}
	got, err := readText(rw)
	if err != nil {
		return err
	}
	if string(got) != string(hello(theirs)) {
		return ErrMismatch
	}
	return nil
}

func write(w io.Writer, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if _, err := w.Write(binary.BigEndian.AppendUint32(nil, uint32(n))); err != nil {
		return err
	}
	for _, p := range parts {
		// Who has read an empty verdict's length has all of it and may be gone, and
		// then even a write of nothing fails.
		if len(p) == 0 {
			continue
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func readLength(r io.Reader, most int) (int, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(most) {
		return 0, fmt.Errorf("a message of %d bytes, at most %d are expected", n, most)
	}
	return int(n), nil
}

func readText(r io.Reader) ([]byte, error) {
	n, err := readLength(r, maxText)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}
