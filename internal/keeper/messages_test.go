package keeper

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"vigil/internal/clock"
	"vigil/internal/id"
	"vigil/internal/keyring"
	"vigil/internal/vaultfile"
)

// message is an encoded message with its expected value and its decoder.
type message struct {
	name string
	want any
	body []byte
	read func(body []byte) (any, error)
}

func of[T any](name string, want T, body []byte, read func([]byte) (T, error)) message {
	return message{name, want, body, func(b []byte) (any, error) { return read(b) }}
}

// TestMessagesAreReadAsTheyWereWritten, and refused with any other length.
func TestMessagesAreReadAsTheyWereWritten(t *testing.T) {
	item, revision := id.NewItem(), id.NewRevision()
	revisions := []id.Revision{revision, id.NewRevision()}
	dek := keyring.DEK{
		Item: item, Revision: revision, Parents: revisions, Line: id.Hash{1}, Tightens: true,
		Wrapped: [keyring.WrappedDEKSize]byte{2}, Waits: true, Superseded: 3,
	}
	pins := keyring.Pins{
		Members: keyring.MembersPin{Seq: 4, Hash: id.Hash{5}},
		Deks:    keyring.DeksPin{KEK: 6, Epoch: 7, SHA256: id.Hash{8}},
	}
	update := keyring.Update{Add: []keyring.DEK{dek, dek}, Remove: []id.Item{item}, Consents: [][]byte{[]byte("consent")}}
	delta := vaultfile.Delta{Drop: []int{1, 2}, Add: [][]byte{[]byte("line"), []byte("another")}}
	deadlines := Deadlines{Idle: time.Hour, Lease: clock.Now().After(time.Minute)}
	load := LoadRequest{
		Known:   Known{keyring.Known{Pins: pins, Last: []byte("last")}, revisions},
		Members: []byte("members"), Deks: []byte("deks"), Waiting: update,
	}
	seal := SealRequest{Draft: 1, Source: revision, Item: item, Parents: revisions, Meta: []byte("{}"), Consent: []byte("consent")}
	sealLine := SealLineRequest{Line: []byte("line"), Parents: revisions, Consent: []byte("consent")}
	deks := DeksRequest{Now: 9, Update: update}
	requests := []message{
		of("Number", uint64(1<<40), Number(1<<40).Append(nil), ReadNumber),
		of("AttachKind", AttachKey, AttachKey.Append(nil), ReadAttachKind),
		of("Delta", delta, Delta(delta).Append(nil), ReadDelta),
		of("LoadRequest", load, bytes.Join(load.Parts(), nil), ReadLoadRequest),
		of("SealRequest", seal, seal.Append(nil), ReadSealRequest),
		of("SealLineRequest", sealLine, sealLine.Append(nil), ReadSealLineRequest),
		of("DeksRequest", deks, deks.Append(nil), ReadDeksRequest),
		of("RotationStep", StepRetire, StepRetire.Append(nil), ReadRotationStep),
		of("Deadlines", deadlines, deadlines.Append(nil), ReadDeadlines),
	}

	added := Added{Key: 1, Blob: []byte("blob"), Plain: []byte("plain"), Comment: "comment", Constraints: []byte{1}}
	draft := Draft{Number: 1, Type: "ssh-ed25519", Public: []byte("public")}
	loaded := &Loaded{
		Pins: pins, OpensKEK: true, Waiting: 2, Missing: []Missing{{item, revision}}, Replaced: revisions,
		Items: []Item{
			{Key: 1, Item: item, Revision: revision, State: ItemOutdated, Meta: []byte("{}")},
			{Item: item, Revision: revision, Problem: "damaged"},
		},
	}
	sealed := Sealed{Line: []byte("line"), DEK: dek}
	made := DeksReply{Object: []byte("deks"), Deleted: []keyring.DEK{dek}}
	report := Report{Undumpable: true, FromStart: true, Holds: []string{"seccomp", "no_core"}, Missing: []string{"landlock"}}
	stats := Stats{Keys: 1, Open: 2, Used: 1 << 40, Mapped: 1 << 41, Kind: "mlock"}
	replies := []message{
		of("Added", added, added.Append(nil), readAdded),
		of("Identity", id.Identity{1}, Identity{1}.Append(nil), readIdentity),
		of("Draft", draft, draft.Append(nil), readDraft),
		of("Loaded", loaded, loaded.Append(nil), readLoaded),
		of("Sealed", sealed, sealed.Append(nil), readSealed),
		of("DeksReply", made, made.Append(nil), readDeksReply),
		of("Report", report, report.Append(nil), readReport),
		of("Stats", stats, stats.Append(nil), readStats),
	}
	for _, m := range requests {
		t.Run(m.name, func(t *testing.T) {
			m.check(t, func(err error) bool { return errors.Is(err, ErrBadRequest) })
		})
	}
	for _, m := range replies {
		t.Run(m.name, func(t *testing.T) { m.check(t, func(err error) bool { return err != nil }) })
	}

	// These have no length of their own: they extend to the end of the message.
	sign := SignRequest{Key: 1, Flags: 2, Data: []byte("data")}
	if got, err := ReadSignRequest(sign.Append(nil)); err != nil || !reflect.DeepEqual(got, sign) {
		t.Errorf("SignRequest %+v is read as %+v, %v", sign, got, err)
	}
	if _, err := ReadSignRequest(make([]byte, signHeadLen-1)); !errors.Is(err, ErrBadRequest) {
		t.Errorf("a SignRequest that is cut: %v", err)
	}
	through := SignThroughRequest{Key: 1, Provider: "internal", Data: []byte("data")}
	if got, err := ReadSignThroughRequest(through.Append(nil)); err != nil || !reflect.DeepEqual(got, through) {
		t.Errorf("SignThroughRequest %+v is read as %+v, %v", through, got, err)
	}
	if _, err := ReadSignThroughRequest(through.Append(nil)[:8+4+len("interna")]); !errors.Is(err, ErrBadRequest) {
		t.Errorf("a SignThroughRequest that is cut: %v", err)
	}
	verified := Verified{Next: 64, Total: 100, Problems: []string{"one", "another"}}
	if got, err := readVerified(verified.Append(nil)); err != nil || !reflect.DeepEqual(got, verified) {
		t.Errorf("Verified %+v is read as %+v, %v", verified, got, err)
	}
}

// check decodes the message, and expects errors for shorter and longer ones.
func (m message) check(t *testing.T, refused func(error) bool) {
	if got, err := m.read(m.body); err != nil || !reflect.DeepEqual(got, m.want) {
		t.Fatalf("%+v is read as %+v, %v", m.want, got, err)
	}
	for n := range m.body {
		if _, err := m.read(m.body[:n]); !refused(err) {
			t.Fatalf("%d bytes of %d: %v", n, len(m.body), err)
		}
	}
	if _, err := m.read(append(m.body, 0)); !refused(err) {
		t.Fatalf("a byte more: %v", err)
	}
}

// TestEveryErrorHasAStatus that is converted back to the same error.
func TestEveryErrorHasAStatus(t *testing.T) {
	for _, kind := range kinds[StatusFailed:] {
		s := StatusOf(kind)
		if err := errorOf(s, []byte("what happened")); !errors.Is(err, kind) || err.Error() != "what happened" {
			t.Errorf("%v has status %d, which is %v", kind, s, err)
		}
	}
	if s := StatusOf(errors.New("something else")); s != StatusFailed {
		t.Errorf("another error has status %d", s)
	}
}
