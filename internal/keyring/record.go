package keyring

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"vigil/internal/canon"
	"vigil/internal/id"
)

// Kind is the kind of a record.
type Kind string

// The kinds of format version 1.
const (
	IdentityAdded   Kind = "identity-added"
	IdentityRemoved Kind = "identity-removed"
	KEKMade         Kind = "kek-made"
	KEKRetired      Kind = "kek-retired"
	UnlockSet       Kind = "unlock-set"
	MasterChanged   Kind = "master-changed"
	Rekeyed         Kind = "rekeyed"
)

// recordLabel is the signing context of records.
const recordLabel = "vigil v1 record"

// Record is one record of a members chain. Which fields are set depends on Kind.
type Record struct {
	Seq  uint64
	Prev id.Hash     // hash of the record before; zero in record 0
	By   id.Identity // the identity that signed it
	Kind Kind

	Identity id.Identity // the identity it is about; not in KEK records
	Role     Role        // IdentityAdded
	Public   Public      // IdentityAdded, Rekeyed
	Random   [16]byte    // record 0
	KEK      uint64      // KEKMade, KEKRetired
	Sealed   id.Hash     // KEKMade: of its seals' lines, concatenated
	Seals    []SealRef   // IdentityAdded but record 0, Rekeyed: of KEKs made before
	Unlock   id.Hash     // UnlockSet, MasterChanged, Rekeyed, IdentityAdded but record 0
	Master   string      // MasterChanged
	Deks     id.Hash     // IdentityRemoved, Rekeyed: the last deks by the old key that stays valid

	body []byte
	hash id.Hash // of body
	sig  [SignatureSize]byte
	line int
}

// SealRef names a KEK sealed to the record's identity by the hash of the seal's
// line.
type SealRef struct {
	KEK    uint64
	SHA256 id.Hash
}

// Hash returns the SHA-256 of the record's body.
func (r *Record) Hash() id.Hash { return r.hash }

// RecordMessage returns what a record's signature covers: the context
// "vigil v1 record" and the body's bytes.
func RecordMessage(body []byte) []byte {
	m := make([]byte, 0, 4+len(recordLabel)+len(body))
	m = binary.BigEndian.AppendUint32(m, uint32(len(recordLabel)))
	m = append(m, recordLabel...)
	return append(m, body...)
}

// encodeBody sets r.body from the other fields.
func (r *Record) encodeBody() {
	b := append(make([]byte, 0, 512), `{"seq":`...)
	b = canon.AppendUint(b, r.Seq)
	b = append(b, `,"prev":`...)
	b = canon.AppendBytes(b, r.Prev[:])
	b = append(b, `,"by":`...)
	b = canon.AppendBytes(b, r.By[:])
	b = append(b, `,"kind":`...)
	b = canon.AppendToken(b, string(r.Kind))
	switch r.Kind {
	case KEKMade, KEKRetired:
		b = append(b, `,"kek":`...)
		b = canon.AppendUint(b, r.KEK)
		if r.Kind == KEKMade {
			b = append(b, `,"seals":`...)
			b = canon.AppendBytes(b, r.Sealed[:])
		}
	default:
		b = append(b, `,"identity":`...)
		b = canon.AppendBytes(b, r.Identity[:])
		b = r.appendIdentityFields(b)
	}
	r.body = append(b, '}')
	r.hash = id.HashOf(r.body)
}

func (r *Record) appendIdentityFields(b []byte) []byte {
	if r.Kind == IdentityAdded {
		b = append(b, `,"role":`...)
		b = canon.AppendToken(b, string(r.Role))
	}
	if r.Kind == IdentityAdded || r.Kind == Rekeyed {
		b = append(b, `,"hpke":`...)
		b = canon.AppendBytes(b, r.Public.HPKE[:])
		b = append(b, `,"ed25519":`...)
		b = canon.AppendBytes(b, r.Public.Ed25519[:])
	}
	if r.founds() {
		b = append(b, `,"random":`...)
		return canon.AppendBytes(b, r.Random[:])
	}
	if r.Kind == MasterChanged {
		b = append(b, `,"master":`...)
		b = canon.AppendToken(b, r.Master)
	}
	if r.Kind != IdentityRemoved {
		b = append(b, `,"unlock":`...)
		b = canon.AppendBytes(b, r.Unlock[:])
	}
	if r.Kind == IdentityAdded || r.Kind == Rekeyed {
		b = appendSealRefs(b, r.Seals)
	}
	if r.Kind == IdentityRemoved || r.Kind == Rekeyed {
		b = append(b, `,"deks":`...)
		b = canon.AppendBytes(b, r.Deks[:])
	}
	return b
}

// founds reports whether r adds the first identity. That identity's unlock block
// is bound to the vault's id, which is this record's hash, so the block needs a
// record of its own.
func (r *Record) founds() bool { return r.Kind == IdentityAdded && r.Seq == 0 }

func appendSealRefs(b []byte, refs []SealRef) []byte {
	b = append(b, `,"seals":[`...)
	for i, ref := range refs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"kek":`...)
		b = canon.AppendUint(b, ref.KEK)
		b = append(b, `,"sha256":`...)
		b = canon.AppendBytes(b, ref.SHA256[:])
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendLine appends the record's line, without line feed.
func (r *Record) appendLine(b []byte) []byte {
	b = append(b, `{"body":`...)
	b = append(b, r.body...)
	b = append(b, `,"sig":`...)
	b = canon.AppendBytes(b, r.sig[:])
	return append(b, '}')
}

// lineSize returns the size of the record's line in bytes, with its line feed.
func (r *Record) lineSize() int {
	return len(`{"body":,"sig":""}`) + len(r.body) + base64.RawURLEncoding.EncodedLen(SignatureSize) + 1
}

// parseRecord reads a record's line. The record aliases line.
func parseRecord(line []byte) (rec Record, err error) {
	r := canon.NewReader(line)
	r.Literal(`{"body":`)
	start := r.Offset()
	r.Literal(`{"seq":`)
	rec.Seq = r.Uint()
	r.Literal(`,"prev":`)
	r.Fixed(rec.Prev[:])
	r.Literal(`,"by":`)
	r.Fixed(rec.By[:])
	r.Literal(`,"kind":`)
	rec.Kind = Kind(r.Token(MaxMaster))
	switch rec.Kind {
	case KEKMade, KEKRetired:
		r.Literal(`,"kek":`)
		rec.KEK = r.Uint()
		if rec.Kind == KEKMade {
			r.Literal(`,"seals":`)
			r.Fixed(rec.Sealed[:])
		}
	case IdentityAdded, IdentityRemoved, UnlockSet, MasterChanged, Rekeyed:
		r.Literal(`,"identity":`)
		r.Fixed(rec.Identity[:])
		rec.parseIdentityFields(&r)
	default:
		r.Fail("a kind of record that version 1 has")
	}
	r.Literal(`}`)
	rec.body = r.Since(start)
	rec.hash = id.HashOf(rec.body)
	r.Literal(`,"sig":`)
	r.Fixed(rec.sig[:])
	r.Literal(`}`)
	return rec, r.End()
}

func (rec *Record) parseIdentityFields(r *canon.Reader) {
	if rec.Kind == IdentityAdded {
		r.Literal(`,"role":`)
		rec.Role = Role(r.Token(MaxMaster))
		if !rec.Role.valid() {
			r.Fail("owner, member or reader")
		}
	}
	if rec.Kind == IdentityAdded || rec.Kind == Rekeyed {
		r.Literal(`,"hpke":`)
		r.Fixed(rec.Public.HPKE[:])
		r.Literal(`,"ed25519":`)
		r.Fixed(rec.Public.Ed25519[:])
	}
	if rec.founds() {
		r.Literal(`,"random":`)
		r.Fixed(rec.Random[:])
		return
	}
	if rec.Kind == MasterChanged {
		r.Literal(`,"master":`)
		rec.Master = r.Token(MaxMaster)
	}
	if rec.Kind != IdentityRemoved {
		r.Literal(`,"unlock":`)
		r.Fixed(rec.Unlock[:])
	}
	if rec.Kind == IdentityAdded || rec.Kind == Rekeyed {
		rec.Seals = parseSealRefs(r)
	}
	if rec.Kind == IdentityRemoved || rec.Kind == Rekeyed {
		r.Literal(`,"deks":`)
		r.Fixed(rec.Deks[:])
	}
}

// parseSealRefs reads 1 to MaxKEKs references, in ascending order of version.
func parseSealRefs(r *canon.Reader) (refs []SealRef) {
	r.Literal(`,"seals":[`)
	last := uint64(0)
	for r.Err() == nil {
		var ref SealRef
		r.Literal(`{"kek":`)
		ref.KEK = r.Uint()
		r.Literal(`,"sha256":`)
		r.Fixed(ref.SHA256[:])
		r.Literal(`}`)
		if ref.KEK <= last {
			r.Fail("seals sorted by KEK, each once")
		}
		if len(refs) == MaxKEKs {
			r.Fail(fmt.Sprintf("at most %d seals", MaxKEKs))
		}
		last, refs = ref.KEK, append(refs, ref)
		if !r.Try(`,`) {
			break
		}
	}
	r.Literal(`]`)
	return refs
}
