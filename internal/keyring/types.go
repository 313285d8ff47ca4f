package keyring

import (
	"fmt"

	"vigil/internal/canon"
	"vigil/internal/id"
)

// Sizes of the binary fields, in bytes.
const (
	HPKEPublicSize    = 1216 // MLKEM768-X25519: 1,184 of ML-KEM-768 and 32 of X25519
	Ed25519PublicSize = 32
	SignatureSize     = 64
	SealedHalvesSize  = 80 + 64        // two 32-byte seeds, sealed
	SealedKEKSize     = 1120 + 32 + 16 // HPKE's enc, and the KEK with its tag
	WrappedDEKSize    = 80 + 32        // a 32-byte key, sealed
	KDFSaltSize       = 16
)

// Suite names the HPKE suite of KEK seals, RFC 9180 ids 0x647a (MLKEM768-X25519,
// also known as X-Wing), 0x0001 (HKDF-SHA256), 0x0002 (AES-256-GCM).
const Suite = "MLKEM768X25519-HKDF-SHA256-AES-256-GCM"

// Role determines what an identity may write.
type Role string

// Roles. An owner may append any record to members and write deks. A member may
// write deks and append records about its own passphrase and master key. A reader
// may only append the latter (docs/vault-format.md, "Who may write what").
const (
	Owner  Role = "owner"
	Member Role = "member"
	Reader Role = "reader"
)

func (r Role) valid() bool { return r == Owner || r == Member || r == Reader }

// ParseRole returns the role that text names.
func ParseRole(text string) (Role, bool) { return Role(text), Role(text).valid() }

// Public holds an identity's public keys: the one that KEKs are sealed to, and
// the one that verifies its signatures.
type Public struct {
	HPKE    [HPKEPublicSize]byte
	Ed25519 [Ed25519PublicSize]byte
}

// Identity is a live identity of a vault.
type Identity struct {
	ID     id.Identity
	Role   Role
	Public Public
	// AddedBy is the identity that admitted it; its own id for the first one.
	AddedBy id.Identity
	// Seq is the number of the record that added it.
	Seq uint64
}

// KDFName is the only password hash of format version 1: Argon2id, RFC 9106.
const KDFName = "argon2id"

// Limits of Argon2id's parameters. Below the minimums guessing is too cheap (see
// MinKDFMemory and MinKDFTime); above the maximums an unlock could exhaust a
// device's memory.
const (
	MaxKDFMemory = 4 << 20 // KiB
	MaxKDFTime   = 16
	MinKDFLanes  = 1
	MaxKDFLanes  = 16
)

// KDF holds the parameters that turn a passphrase into 32 bytes.
type KDF struct {
	Name   string // KDFName
	Memory uint32 // KiB
	Time   uint32 // passes
	Lanes  uint8
	Salt   [KDFSaltSize]byte // random for each identity and each change
}

// DefaultKDF returns 256 MiB, 3 passes and 4 lanes with the given salt.
func DefaultKDF(salt [KDFSaltSize]byte) KDF {
	return KDF{Name: KDFName, Memory: defaultKDFMemory, Time: MinKDFTime, Lanes: 4, Salt: salt}
}

// Check reports parameters that this version doesn't support or that are outside
// the limits. Deriving and appending call it; parsing doesn't, so that one
// identity's bad parameters don't hide the others.
func (k KDF) Check() error {
	switch {
	case k.Name != KDFName:
		return fmt.Errorf("password hash %q is unknown, want %q", k.Name, KDFName)
	case k.Memory < MinKDFMemory || k.Memory > MaxKDFMemory:
		return fmt.Errorf("argon2id memory of %d KiB is outside %d to %d KiB", k.Memory, MinKDFMemory, MaxKDFMemory)
	case k.Time < MinKDFTime || k.Time > MaxKDFTime:
		return fmt.Errorf("argon2id time of %d passes is outside %d to %d", k.Time, MinKDFTime, MaxKDFTime)
	case k.Lanes < MinKDFLanes || k.Lanes > MaxKDFLanes:
		return fmt.Errorf("argon2id parallelism of %d is outside %d to %d", k.Lanes, MinKDFLanes, MaxKDFLanes)
	case uint64(k.Memory) < 8*uint64(k.Lanes):
		return fmt.Errorf("argon2id memory of %d KiB is less than 8 KiB for each of %d lanes", k.Memory, k.Lanes)
	}
	return nil
}

// UnlockBlock is what an identity's two factors open: the parameters that hash its
// passphrase, its wrapped share, and its private halves sealed by both factors.
type UnlockBlock struct {
	Identity id.Identity
	KDF      KDF
	// Master names the scheme of the master key that wraps Share, such as
	// "local" or "awskms"; opaque here.
	Master string
	// Share is 32 random bytes wrapped by the master key; 1 to MaxShare bytes.
	Share []byte
	// Halves are the seeds of both private keys, sealed by the unlock key.
	Halves [SealedHalvesSize]byte
}

// Seal is a KEK sealed to one identity.
type Seal struct {
	// Record is the number of the record that names it. Append fills it in.
	Record   uint64
	Identity id.Identity
	KEK      uint64 // version
	// Sealed is HPKE's enc and ciphertext in Suite.
	Sealed [SealedKEKSize]byte
}

// line returns the canonical line, without line feed.
func (u *UnlockBlock) line() []byte {
	b := make([]byte, 0, 512+len(u.Share)*4/3)
	b = append(b, `{"unlock":{"identity":`...)
	b = canon.AppendBytes(b, u.Identity[:])
	b = append(b, `,"kdf":{"name":`...)
	b = canon.AppendToken(b, u.KDF.Name)
	b = append(b, `,"memory":`...)
	b = canon.AppendUint(b, uint64(u.KDF.Memory))
	b = append(b, `,"time":`...)
	b = canon.AppendUint(b, uint64(u.KDF.Time))
	b = append(b, `,"lanes":`...)
	b = canon.AppendUint(b, uint64(u.KDF.Lanes))
	b = append(b, `,"salt":`...)
	b = canon.AppendBytes(b, u.KDF.Salt[:])
	b = append(b, `},"master":`...)
	b = canon.AppendToken(b, u.Master)
	b = append(b, `,"share":`...)
	b = canon.AppendBytes(b, u.Share)
	b = append(b, `,"halves":`...)
	b = canon.AppendBytes(b, u.Halves[:])
	return append(b, `}}`...)
}

func parseUnlock(line []byte) (u UnlockBlock, err error) {
	r := canon.NewReader(line)
	readUnlock(&r, &u)
	return u, r.End()
}

// readUnlock reads an unlock block's line, in members or in a request.
func readUnlock(r *canon.Reader, u *UnlockBlock) {
	r.Literal(`{"unlock":{"identity":`)
	r.Fixed(u.Identity[:])
	r.Literal(`,"kdf":{"name":`)
	u.KDF.Name = r.Token(MaxMaster)
	r.Literal(`,"memory":`)
	u.KDF.Memory = uint32(bounded(r, 1<<32-1))
	r.Literal(`,"time":`)
	u.KDF.Time = uint32(bounded(r, 1<<32-1))
	r.Literal(`,"lanes":`)
	u.KDF.Lanes = uint8(bounded(r, 1<<8-1))
	r.Literal(`,"salt":`)
	r.Fixed(u.KDF.Salt[:])
	r.Literal(`},"master":`)
	u.Master = r.Token(MaxMaster)
	r.Literal(`,"share":`)
	u.Share = r.Bytes(1, MaxShare)
	r.Literal(`,"halves":`)
	r.Fixed(u.Halves[:])
	r.Literal(`}}`)
}

func bounded(r *canon.Reader, limit uint64) uint64 {
	n := r.Uint()
	if n > limit {
		r.Fail(fmt.Sprintf("an integer up to %d", limit))
	}
	return n
}

func (s *Seal) line() []byte {
	b := make([]byte, 0, 1800)
	b = append(b, `{"seal":{"record":`...)
	b = canon.AppendUint(b, s.Record)
	b = append(b, `,"identity":`...)
	b = canon.AppendBytes(b, s.Identity[:])
	b = append(b, `,"kek":`...)
	b = canon.AppendUint(b, s.KEK)
	b = append(b, `,"suite":`...)
	b = canon.AppendToken(b, Suite)
	b = append(b, `,"sealed":`...)
	b = canon.AppendBytes(b, s.Sealed[:])
	return append(b, `}}`...)
}

func parseSeal(line []byte) (s Seal, err error) {
	r := canon.NewReader(line)
	r.Literal(`{"seal":{"record":`)
	s.Record = r.Uint()
	r.Literal(`,"identity":`)
	r.Fixed(s.Identity[:])
	r.Literal(`,"kek":`)
	s.KEK = r.Uint()
	r.Literal(`,"suite":`)
	r.Literal(`"` + Suite + `"`)
	r.Literal(`,"sealed":`)
	r.Fixed(s.Sealed[:])
	r.Literal(`}}`)
	return s, r.End()
}
