// Package keyring reads, verifies, changes and writes the two objects a
// backend stores for a vault: members, the signed list of who may open the
// vault and the keys sealed to them, and deks, the authenticated manifest of
// every item's wrapped key.
//
// It is pure: it does no I/O, draws no randomness, and holds no private key.
// A Signer signs records, and a MACFunc computes MACs under a KEK. A Members
// exists only for a verified chain that starts at the vault id; Deks.Verify
// checks that a Deks belongs to that chain. Values are immutable; a change
// returns a new one.
//
// The format is specified in docs/vault-format.md, "members" and "deks".
package keyring

import (
	"errors"
	"fmt"

	"vigil/internal/id"
)

// Version is the format version of both objects.
const Version = 1

// Limits of both objects. A reader refuses an object beyond them before it
// allocates memory for it.
const (
	// MaxObject is the most bytes one object may have: 200,000 revisions, or
	// 4,096 identities with several KEKs.
	MaxObject = 64 << 20
	// MaxLine is the most bytes one line may have, its line feed excluded: an
	// unlock block has at most 9,000, a record 8,000.
	MaxLine = 1 << 20
	// MaxRecords is the most records a members chain may have: each costs a
	// signature check of 60 µs.
	MaxRecords = 1 << 16
	// OwnerRecords and OwnerBytes are the records and bytes of members that are
	// reserved for owners, so that they can remove whoever filled the rest.
	OwnerRecords = 1 << 14
	OwnerBytes   = 24 << 20
	// MaxOwnRecords is the most records that an identity may append that isn't
	// an owner: a change of passphrase every two months for ten years.
	MaxOwnRecords = 64
	// MaxIdentities is the most identities that may be live at once.
	MaxIdentities = 4096
	// MaxKEKs is the most KEKs that may be live at once: more than a series of
	// interrupted rotations leaves behind.
	MaxKEKs = 64
	// MaxEpoch is the most writes of deks under one KEK, and MaxStep the most of
	// them that a device may have missed. A larger step can only be an attempt to
	// use up the epochs.
	MaxEpoch = 1 << 32
	MaxStep  = 1 << 20
	// MaxParents is the most parents one revision may name: it can merge that
	// many heads, and the contexts that bind them stay below 1,024 bytes.
	MaxParents = 32
	// MaxMaster is the most characters a master key's scheme may have.
	MaxMaster = 64
	// MaxShare is the most bytes a wrapped share may have; AWS KMS writes at
	// most 6,144.
	MaxShare = 6144
)

// Stage names the check that refused an object. Test vectors use the same names.
type Stage string

// The stages. docs/vault-format.md defines the order in which a reader checks them.
const (
	StageSize          Stage = "size"          // larger than its limit
	StageSyntax        Stage = "syntax"        // not canonical, truncated, or out of order
	StageVersion       Stage = "version"       // a format version this reader doesn't know
	StageVault         Stage = "vault"         // belongs to another vault
	StageChain         Stage = "chain"         // a record doesn't follow from the one before
	StageAuthorisation Stage = "authorisation" // the signer may not write it
	StageSignature     Stage = "signature"     // not signed by the identity that it names
	StageBlocks        Stage = "blocks"        // an unlock block or KEK seal has no live record, or is missing
	StageHead          Stage = "head"          // deks names a members record that doesn't exist
	StageKEK           Stage = "kek"           // deks is not under the newest KEK at that record
	StageMAC           Stage = "mac"           // deks was not written by a holder of its KEK
	StageRollback      Stage = "rollback"      // older than what this device has seen
	StageFork          Stage = "fork"          // a different history than this device has seen
)

// Names of the two objects in headers, errors and backends.
const (
	ObjectMembers = "members"
	ObjectDeks    = "deks"
)

// Error reports which check refused an object, and where. It holds no secret and
// quotes nothing from the object.
type Error struct {
	Object string // ObjectMembers or ObjectDeks
	Line   int    // from 1; 0 for the whole object
	Stage  Stage
	What   string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", e.Object, e.Stage, e.What)
	}
	return fmt.Sprintf("%s line %d: %s: %s", e.Object, e.Line, e.Stage, e.What)
}

// HistoryError reports that an object is older than the one this device has seen
// (StageRollback), or conflicts with it (StageFork).
type HistoryError struct {
	Object string
	Stage  Stage
	// Expected and Found are record numbers of members or epochs of deks: the
	// one this device has seen, and the last one of the object. For a fork, both
	// are the place where the hashes differ.
	Expected, Found uint64
	// ExpectedHash and FoundHash are hashes of the record, or of the object.
	// FoundHash is zero for a rollback of members, which lacks the record.
	ExpectedHash, FoundHash id.Hash
	// ExpectedKEK and FoundKEK are the versions that deks was written under;
	// 0 for members.
	ExpectedKEK, FoundKEK uint64
	// What describes what a later deks lacks that this device has seen; "" if
	// the numbers suffice.
	What string
}

func (e *HistoryError) Error() string {
	switch {
	case e.What != "":
		return fmt.Sprintf("%s: %s: %s", e.Object, e.Stage, e.What)
	case e.Object == ObjectMembers && e.Stage == StageFork:
		return fmt.Sprintf("members: fork: expected record %d to be %v, found %v", e.Expected, e.ExpectedHash, e.FoundHash)
	case e.Object == ObjectMembers:
		return fmt.Sprintf("members: rollback: expected record %d or a later one, found %d", e.Expected, e.Found)
	case e.Stage == StageFork:
		return fmt.Sprintf("deks: fork: expected epoch %d of KEK %d to be %v, found %v", e.Expected, e.ExpectedKEK, e.ExpectedHash, e.FoundHash)
	}
	return fmt.Sprintf("deks: rollback: expected epoch %d of KEK %d or a later one, found epoch %d of KEK %d", e.Expected, e.ExpectedKEK, e.Found, e.FoundKEK)
}

// StageOf returns the stage at which err refused an object, or "".
func StageOf(err error) Stage {
	var e *Error
	if errors.As(err, &e) {
		return e.Stage
	}
	var h *HistoryError
	if errors.As(err, &h) {
		return h.Stage
	}
	return ""
}

// ErrChange is wrapped by errors of Append and Apply for changes that the rules
// forbid, whoever signs them.
var ErrChange = errors.New("change not allowed")
