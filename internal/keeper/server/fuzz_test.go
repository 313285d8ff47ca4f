package server

import (
	"bytes"
	"testing"
	"time"

	"vigil/internal/guard"
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/keyring"
	"vigil/internal/wire"
)

// FuzzRequests: the keeper answers any request, and no reply contains a secret.
func FuzzRequests(f *testing.F) {
	key := ed25519Key(f)
	w := newWorld(f, key)
	o, line, dek := w.Objects(), w.items[0].Line, w.items[0].DEK
	parents := []id.Revision{line.Revision}
	known := keeper.Known{Known: keyring.Known{Pins: w.Pins(), Last: o.Deks}, Replaced: parents}
	load := keeper.LoadRequest{Known: known, Members: o.Members, Deks: o.Deks, Waiting: keyring.Update{Add: []keyring.DEK{dek}}}
	for _, seed := range []struct {
		op   keeper.Op
		body []byte
	}{
		{keeper.OpSign, keeper.SignRequest{Key: 1, Data: []byte("data")}.Append(nil)},
		{keeper.OpAdd, addBody(key, "comment")},
		{keeper.OpAddBound, append(addBody(key, "comment"), 1, 0, 0, 0, 9)},
		{keeper.OpRemove, keeper.Number(1).Append(nil)},
		{keeper.OpRemoveAll, nil},
		{keeper.OpLock, wire.AppendString(nil, "passphrase")},
		{keeper.OpUnlock, wire.AppendString(nil, "passphrase")},
		{keeper.OpFile, o.File},
		{keeper.OpFileDelta, keeper.Delta{Drop: []int{0}, Add: [][]byte{line.Text()}}.Append(nil)},
		{keeper.OpLoad, bytes.Join(load.Parts(), nil)},
		{keeper.OpSeal, keeper.SealRequest{Draft: 1, Item: id.NewItem(), Meta: []byte("{}")}.Append(nil)},
		{keeper.OpSeal, keeper.SealRequest{Source: line.Revision, Item: line.Item, Parents: parents, Meta: []byte("{}")}.Append(nil)},
		{keeper.OpSealLine, keeper.SealLineRequest{Line: line.Text(), Parents: parents}.Append(nil)},
		{keeper.OpVerify, keeper.Number(0).Append(nil)},
		{keeper.OpCollect, keeper.Number(1).Append(nil)},
		{keeper.OpDropDraft, keeper.Number(1).Append(nil)},
		{keeper.OpDeks, keeper.DeksRequest{Now: 1, Update: keyring.Update{Remove: []id.Item{line.Item}}}.Append(nil)},
		{keeper.OpRotation, keeper.StepRewrap.Append(nil)},
		{keeper.OpDeadlines, keeper.Deadlines{Idle: time.Hour, Lease: after(time.Hour)}.Append(nil)},
		{keeper.OpStats, nil},
	} {
		f.Add(byte(seed.op), seed.body)
	}

	wk := worker{server: served(f, w)}
	secrets := [][]byte{w.Owner.Seeds[:32], w.Owner.Seeds[32:], seedOf(f, key)}
	f.Fuzz(func(t *testing.T, o byte, body []byte) {
		if keeper.Op(o) == keeper.OpAttach {
			return // waits for a descriptor
		}
		out, err := wk.handle(keeper.Op(o), body, wk.header())
		if err != nil && keeper.StatusOf(err) == keeper.StatusFailed {
			t.Fatalf("an error of no kind: %v", err)
		}
		for i, secret := range secrets {
			if bytes.Contains(out, secret) {
				t.Fatalf("the answer to op %d holds secret %d", o, i)
			}
		}
	})
}

// served returns a keeper's server in this process, with the world's vault loaded.
func served(f *testing.F, w *world) *server {
	f.Helper()
	watch, err := guard.NewWatch()
	if err != nil {
		f.Fatal(err)
	}
	slab, err := guard.NewSlab(segment)
	if err != nil {
		f.Fatal(err)
	}
	s := &server{
		vaultID: w.Vault(), slab: slab, sweeper: guard.NewSweeper(), watch: watch, keys: newTable(),
		drafts: make(map[uint64]*guard.Buffer), quit: make(chan struct{}), deadlines: deadlines{changed: make(chan struct{}, 1)},
	}
	f.Cleanup(func() {
		s.sweeper.Close()
		_ = slab.Close()
	})
	seeds := guarded(f, w.Owner.Seeds)
	if err := s.takeSeeds(w.Owner.Identity.ID, seeds); err != nil {
		f.Fatal(err)
	}
	o := w.Objects()
	if err := s.takeFile(o.File); err != nil {
		f.Fatal(err)
	}
	load := keeper.LoadRequest{Members: o.Members, Deks: o.Deks}
	if _, err := s.load(bytes.Join(load.Parts(), nil), nil); err != nil {
		f.Fatal(err)
	}
	return s
}

// seedOf returns an Ed25519 key's seed: the first 32 of its encoding's last 64 bytes.
func seedOf(f *testing.F, key sample) []byte {
	f.Helper()
	if len(key.encoding) < 64 {
		f.Fatal("not an Ed25519 key")
	}
	return key.encoding[len(key.encoding)-64:][:32]
}
